"""The optimiser: AdamW, with weight decay on matrices and none on gains and biases."""

import torch

BETAS = (0.9, 0.95)  # as in GPT-3 (Brown et al. 2020, appendix B); 0.999 forgets too slowly for runs this short


def adamw(model: torch.nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over a model's parameters; the learning rate is set at every step."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, betas=BETAS, fused=True)
