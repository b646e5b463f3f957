"""The kinds of tokenizer, each trained on a stream of texts: byte-level BPE, Unigram, WordPiece, bytes, characters.

All but the last stand on bytes written as 256 visible characters (tokenizers' ByteLevel), so that any text can be
encoded and comes back exactly, and all three that learn pieces cut a text into the same words first: what then differs
between them is the algorithm alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from pipeline import chat
from pipeline.tokenizer import unigram
from pipeline.tokenizer.recipe import Recipe

UNKNOWN = "<|unk|>"  # of `char` alone
# A space belongs to the word behind it; contractions, letters, digits, the rest, blanks (GPT-2's words).
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|%s| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DIGITS = {"together": r" ?\p{N}+", "single": r"\p{N}", "threes": r"\p{N}{1,3}"}
# Before a WordPiece that goes on in a word. The usual ## would be ambiguous, # being a character of the alphabet.
JOINED = "\u2040"
# WordPiece gives a longer word up as unknown, and takes quadratic time for it: such words are cut.
LONGEST_WORD = 100

Texts = Iterable[list[str]]


def train(recipe: Recipe, texts: Texts) -> Tokenizer:
    """The tokenizer of a recipe. Two runs over equal texts give equal tokenizers."""
    make = {"bpe": bpe, "unigram": unigram_pieces, "wordpiece": wordpiece, "byte": byte, "char": char}
    assert recipe.vocabulary is not None, "an extended tokenizer is not trained here"
    return make[recipe.kind](recipe, recipe.vocabulary, texts)


def normalizer(recipe: Recipe) -> normalizers.Normalizer | None:
    """What is done to a text before anything else; None where nothing is."""
    steps: list[normalizers.Normalizer] = []
    if recipe.normalization is not None:
        steps.append(normalizers.NFC() if recipe.normalization == "nfc" else normalizers.NFKC())
    if recipe.lowercase:
        steps.append(normalizers.Lowercase())
    return normalizers.Sequence(steps) if steps else None


def words(recipe: Recipe) -> str:
    """The pattern of a word."""
    return WORDS % DIGITS[recipe.digits]


def byte_level(recipe: Recipe) -> pre_tokenizers.PreTokenizer:
    """Cuts a text into words and writes them in the 256 characters."""
    if recipe.digits == "together":
        return pre_tokenizers.ByteLevel(add_prefix_space=False)  # its own pattern is the same
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words(recipe)), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def alphabet() -> list[str]:
    """The 256 characters that stand for the bytes, sorted."""
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def assemble(
    model: models.Model,
    recipe: Recipe,
    cut: pre_tokenizers.PreTokenizer | None,
    decoder: decoders.Decoder,
    special: tuple[str, ...] = chat.SPECIAL_TOKENS,
) -> Tokenizer:
    """A tokenizer around a learnt model, which has the special tokens in its vocabulary."""
    tokenizer = Tokenizer(model)
    if found := normalizer(recipe):
        tokenizer.normalizer = found
    if cut is not None:
        tokenizer.pre_tokenizer = cut
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens(list(special))
    return tokenizer


def bpe(recipe: Recipe, size: int, texts: Texts) -> Tokenizer:
    """Byte-level BPE (Sennrich et al. 2016, 1508.07909): the most frequent pair becomes a piece, again and again."""
    tokenizer = Tokenizer(models.BPE())
    if found := normalizer(recipe):
        tokenizer.normalizer = found
    tokenizer.pre_tokenizer = byte_level(recipe)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(chat.SPECIAL_TOKENS),
        initial_alphabet=alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def unigram_pieces(recipe: Recipe, size: int, texts: Texts) -> Tokenizer:
    """The Unigram model (Kudo 2018, 1804.10959), which is SentencePiece's: each piece has a probability, and a word is
    cut the likeliest way. Trained by pipeline/tokenizer/unigram.py."""
    found = normalizer(recipe)
    counts = unigram.count_words(texts, words(recipe), found.normalize_str if found else None)
    pieces = unigram.learn(counts, alphabet(), size - len(chat.SPECIAL_TOKENS))
    # A special token is no piece of a word: no word holds one whole, see `check_plain_text` in train.py.
    special = [(token, 0.0) for token in chat.SPECIAL_TOKENS]
    return assemble(models.Unigram([*special, *pieces]), recipe, byte_level(recipe), decoders.ByteLevel())


def wordpiece(recipe: Recipe, size: int, texts: Texts) -> Tokenizer:
    """WordPiece as BERT uses it: a word's longest beginning in the vocabulary first, then the longest of the rest.
    Learnt as tokenizers does, by the merges of BPE."""
    learner = Tokenizer(models.WordPiece(continuing_subword_prefix=JOINED))
    if found := normalizer(recipe):
        learner.normalizer = found
    learner.pre_tokenizer = byte_level(recipe)
    # Bytes inside a word have numbers from the start. The trainer would leave some out, and number the others in an
    # order that changes from run to run, and the merges with it.
    special = [*chat.SPECIAL_TOKENS, *(JOINED + a for a in alphabet())]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=alphabet(),
        continuing_subword_prefix=JOINED,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    model = models.WordPiece(
        learner.get_vocab(), continuing_subword_prefix=JOINED, max_input_chars_per_word=LONGEST_WORD
    )
    cut = pre_tokenizers.Sequence([byte_level(recipe), pre_tokenizers.FixedLength(LONGEST_WORD)])
    decoder = decoders.Sequence([decoders.Replace(JOINED, ""), decoders.ByteLevel()])
    return assemble(model, recipe, cut, decoder)


def byte(recipe: Recipe, size: int, texts: Texts) -> Tokenizer:
    """The 256 bytes and the special tokens; nothing is learnt."""
    vocabulary = {piece: number for number, piece in enumerate([*chat.SPECIAL_TOKENS, *alphabet()])}
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return assemble(models.BPE(vocabulary, []), recipe, whole, decoders.ByteLevel())


def char(recipe: Recipe, size: int, texts: Texts) -> Tokenizer:
    """The corpus's most frequent characters, in the order of their code points; any other is lost as <|unk|>."""
    found = normalizer(recipe)
    seen: Counter[str] = Counter()
    for text in _normalized(texts, found):
        seen.update(text)
    special = (*chat.SPECIAL_TOKENS, UNKNOWN)
    frequent = sorted(seen, key=lambda c: (-seen[c], c))[: size - len(special)]
    vocabulary = {piece: number for number, piece in enumerate([*special, *sorted(frequent)])}
    return assemble(models.BPE(vocabulary, [], unk_token=UNKNOWN), recipe, None, decoders.Fuse(), special)


def _normalized(texts: Texts, found: normalizers.Normalizer | None) -> Iterator[str]:
    for batch in texts:
        yield from (found.normalize_str(text) for text in batch) if found else batch
