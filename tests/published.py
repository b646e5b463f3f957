"""Published models: the `model:` section that their config.json amounts to, and the counts that were published."""

from typing import Any

# name: (model section, context, vocabulary, parameters, active parameters)
MODELS: dict[str, tuple[dict[str, Any], int, int, int, int]] = {
    # Radford et al. 2019 says 117M; the released checkpoint has 124,439,808.
    "GPT-2": ({"model_type": "gpt2"}, 1024, 50257, 124_439_808, 124_439_808),
    "GPT-Neo-125M": (
        {
            "model_type": "gpt_neo", "hidden_size": 768, "num_layers": 12, "num_heads": 12,
            "attention_types": [[["global", "local"], 6]], "max_position_embeddings": 2048,
        },
        2048, 50257, 125_198_592, 125_198_592,
    ),
    "SmolLM-135M": (
        {
            "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
        },
        2048, 49152, 134_515_008, 134_515_008,
    ),
    "Qwen3-0.6B": (
        {
            "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
            "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
        },
        40960, 151936, 596_049_920, 596_049_920,
    ),
    "Llama-3.2-1B": (
        {
            "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True,
        },
        131072, 128256, 1_235_814_400, 1_235_814_400,
    ),
    "Mistral-7B": (
        {
            "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "sliding_window": 4096,
        },
        32768, 32000, 7_241_732_096, 7_241_732_096,
    ),
    # Jiang et al. 2024 (2401.04088): 47B parameters, of which a token uses 13B; exactly, by its config.json.
    "Mixtral-8x7B": (
        {
            "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 8, "num_experts_per_tok": 2,
        },
        32768, 32000, 46_702_792_704, 12_879_925_248,
    ),
}  # fmt: skip
