"""What a question says, as far as rules can tell: "How can I skip a queue?" -> explain how to skip.

Scenarios that turn a question into a statement (CompletingAttack) or into a topic to talk about
(multi-turn) share these rules. Covered: English questions, commands and wishes, several sentences,
and simple Chinese ones. Not covered: real grammar. A question that no rule knows is kept whole, as
"answer in detail: ...?", in any language.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from derta.errors import DataError, InputProblem

__all__ = ["UNSPACED", "Phrase", "has_unspaced", "phrase_question", "require_question"]

UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters and Japanese kana, for a regular expression: scripts without spaces."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """What the assistant would announce: `{context} I will {verb} {content}`."""

    verb: str
    """A verb of doing or telling: "write", "explain"; in Chinese with "I will" before it."""
    content: str
    """What follows the verb, without a full stop; with its question mark if it is a question."""
    context: str = ""
    """Sentences that the user said beside the request, or an opening clause with its comma."""
    understood: bool = True
    """Whether a rule knew the form; if not, the question stands whole in `content`."""
    chinese: bool = False

    @property
    def statement(self) -> str:
        """The announcement as a sentence, after its context."""
        end = "" if self.content[-1] in "?!\uff1f" else "\u3002" if self.chinese else "."
        if self.chinese:
            return f"{self.context}{self.verb}{self.content}{end}"
        return f"{self.context} I will {self.verb} {self.content}{end}".lstrip()


def require_question(question: str) -> str:
    """Return the question without surrounding white space.

    Raises:
        DataError: nothing is left of it.
    """
    text = question.strip()
    if not text:
        remedy = "Write the question, or leave the row out"
        raise DataError([InputProblem("question", "it is empty", remedy)])
    return text


def has_unspaced(text: str) -> bool:
    """Tell whether a text holds characters of a script that puts no spaces between words."""
    return re.search(f"[{UNSPACED}]", text) is not None


def phrase_question(question: str) -> Phrase:
    """Find what a question asks to be done.

    Args:
        question: a question, command, wish or statement, of one or several sentences.

    Returns:
        The request as an announcement, and what was said beside it.

    Raises:
        DataError: the question is empty.
    """
    text = " ".join(require_question(question).split())
    if len(re.findall(f"[{UNSPACED}]", text)) > len(text) // 2:
        return _phrase_chinese(text)
    sentences = _sentences(text)
    phrases = [(sentence, _phrase_sentence(sentence)) for sentence in sentences]
    requests = [phrase for _, phrase in phrases if phrase is not None]
    # The request comes last, because the text is to be continued after it.
    beside = [sentence for sentence, phrase in phrases if phrase is None]
    if requests:
        last = requests[-1]
        before = [*beside, *(phrase.statement for phrase in requests[:-1]), last.context]
        context = " ".join(part for part in before if part)
        return Phrase(last.verb, last.content, context, last.understood)
    if len(sentences) > 1 or _STATEMENT.match(text):
        return Phrase("explain", "what to do about it", " ".join(map(_closed, sentences)))
    return Phrase("explain", _lowered(_bare(text)))


# --- sentences ---------------------------------------------------------------------------------

_TITLE = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|St|No|vs|etc|Jr)|\b[A-Za-z]\.[A-Za-z])\.$")
_TITLE_LENGTH = len("Prof.")
_STATEMENT = re.compile(
    r"(?:I|we|he|she|they|it|there|this|my|our|his|her|their)(?:['\u2019]\w+)?\s+\S+\s+\S", re.I
)
_AFTER_SEMICOLON = re.compile(
    r";\s+(?=(?:how|what|which|why|where|when|who|is there|can|please|write|give|explain|tell|"
    r"describe|help)\b)",
    re.IGNORECASE,
)


def _sentences(text: str) -> list[str]:
    found: list[str] = []
    for part in re.split(r"(?<=[.!?])\s+(?=[\"'\u201c\u00bfA-Z])", text):
        # Only the end is looked at: many titles in a row must not take ever longer.
        if found and _TITLE.search(found[-1], max(0, len(found[-1]) - _TITLE_LENGTH)):
            found[-1] += f" {part}"
        else:
            found.append(part)
    halves = [half for sentence in found for half in _AFTER_SEMICOLON.split(sentence)]
    halves = [half for half in halves if half.strip()] or [text]
    return [_closed(half) for half in halves[:-1]] + halves[-1:]


def _closed(sentence: str) -> str:
    return sentence if sentence[-1] in ".!?\"'" else f"{sentence}."


def _bare(sentence: str) -> str:
    return sentence.rstrip("?!. ") or sentence


def _lowered(text: str) -> str:
    """Write the first letter small, unless the word is an abbreviation or "I"."""
    if re.match(r"I\b|[A-Z][A-Z0-9]", text):
        return text
    return text[0].lower() + text[1:]


# --- one sentence ------------------------------------------------------------------------------

_ME = r"(?:(?:to\s+)?(?:me|us)\s+)?"
_ASKER = r"(?:I|we|you|one|someone|somebody|anyone|anybody)"
_PRONOUN = r"(?:I|we|you|he|she|they|it|one|this|that|there|people|someone|somebody|anyone)"
_MODAL = r"(?:can|could|should|might|must|may|will|would|shall)"
_AUXILIARY = rf"(?:{_MODAL}|do|does|did|is|are|am|was|were|have|has|had)"
_NOUN_START = (
    r"(?:the|an?|some|any|my|our|your|his|her|their|its|this|that|these|those|all|every|"
    r"good|great|common|effective|clever|simple|easy|possible|different|several|ways|tips|"
    r"tricks|steps|reasons|examples|methods|signs)"
)
_WISH = (
    r"I(?:'d|'m|\s+would|\s+am|\s+really|\s+just|\s+only|\s+still)*\s+"
    r"(?:want|wanna|like|love|need|wish|hope|plan|intend|have|trying|hoping|planning|looking|going)"
)
_LEARN = r"(?:know|learn|find\s+out|understand|hear|see|ask(?:\s+you)?)"

# What people say before they ask; taken away as often as it comes.
_PREAMBLES = (
    r"(?:hi|hello|hey|well|okay|ok)\b(?:\s+there)?[,!.]\s*",
    r"(?:so|now|also|and|but|then)\b,?\s+",
    r"(?:quick\s+)?question\s*:\s*",
    r"(?:please|kindly)[,\s]\s*",
    rf"{_WISH}\s+(?:for\s+)?you\s+to\s+",
    rf"{_WISH}\s+to\s+{_LEARN}\s+(?:about\s+)?(?=how|what|why|where|when|who|which|whether|if)",
    r"(?:can|could|would|will)\s+you\s+(?!be\b|ever\b|really\b|still\b|legally\b|get\s+in)",
    r"(?:do\s+you|does\s+any(?:one|body))\s+(?:happen\s+to\s+)?know\s+",
    r"(?:do\s+you\s+have\s+)?any\s+idea\s+",
    r"I(?:'m|\s+am|\s+was)?\s+(?:just\s+)?wonder(?:ing)?\s+",
    r"let(?:'s|\s+us)\s+",
    r"let\s+me\s+know\s+",
)

_COMMANDS = (
    r"(?:write|give|make|create|list|plan|draft|suggest|provide|outline|design|"
    r"compose|invent|generate|produce|prepare|recommend|develop|build|construct|"
    r"offer|publish|post|propose|name|find|show|demonstrate|describe|explain|"
    r"discuss|detail|summarise|summarize|translate|rewrite|word|think|pretend|act|"
    r"imagine|come|put|set|tell|draw|script|code|program|sketch|fabricate|forge|"
    r"craft|devise|formulate|identify|compare|analyse|analyze|illustrate|present|"
    r"share|select|choose|pick|convince|persuade|instruct|advise|argue|simulate)\b"
)

Rule = Callable[[re.Match[str]], tuple[str, str]]


def _template(verb: str, content: str) -> Rule:
    return lambda match: (verb, match.expand(content))


def _without_inversion(match: re.Match[str]) -> tuple[str, str]:
    """Put the subject before its auxiliary: "why should I go" -> "why I should go"."""
    asked, auxiliary, subject, rest = match.groups()
    auxiliary = auxiliary.lower()
    if auxiliary == "do":
        return "explain", f"{asked} {subject} {rest}"
    if auxiliary == "does":
        verb, _, remainder = rest.partition(" ")
        return "explain", f"{asked} {subject} {_third_person(verb)} {remainder}".rstrip()
    return "explain", f"{asked} {subject} {auxiliary} {rest}"


def _third_person(verb: str) -> str:
    if verb == "have":
        return "has"
    if re.search(r"(?:s|sh|ch|x|z|o)$", verb):
        return f"{verb}es"
    return f"{verb[:-1]}ies" if re.search(r"[^aeiou]y$", verb) else f"{verb}s"


def _whether(match: re.Match[str]) -> tuple[str, str]:
    auxiliary, subject, rest = match.groups()
    middle = "" if auxiliary.lower() == "do" else f"{auxiliary.lower()} "
    return "explain", f"whether {subject} {middle}{rest}"


_RULES: tuple[tuple[str, Rule], ...] = (
    # how
    (r"how\s+to\s+(.+)", _template("explain", r"how to \1")),
    (r"how\s+come\s+(.+)", _template("explain", r"why \1")),
    (
        rf"how\s+(?:{_MODAL}|do)\s+{_ASKER}\s+(?!(?:think|feel|like|know)\b)(.+)",
        _template("explain", r"how to \1"),
    ),
    (r"how\s+am\s+I\s+supposed\s+to\s+(.+)", _template("explain", r"how to \1")),
    # the best way
    (
        r"what(?:'s|\s+is)\s+the\s+best\s+way\s+to\s+(.+)|"
        r"what\s+are\s+(?:some|the\s+best)\s+ways\s+to\s+(.+)",
        lambda match: ("explain", f"how to {match[1] or match[2]}"),
    ),
    (rf"what(?:'s|'re|\s+(?:is|are|was|were))\s+({_NOUN_START}\s+.+)", _template("explain", r"\1")),
    (
        r"(what|who)\s+(is|are)\s+(?!wrong\b|happening\b|missing\b|it\b|this\b|that\b)([\w-]+)",
        _template("explain", r"\1 \3 \2"),
    ),
    # what should I write -> what to write
    (
        r"((?:what|which|who|whom|where|when|whose)\b[^,;]*?)\s+(?:can|could|should|must|do)\s+"
        r"(?:I|we|you|one)\s+(?!(?:think|feel|like|know|mean)\b)(.+)",
        _template("explain", r"\1 to \2"),
    ),
    (
        rf"((?:why|how|what|which|who|whom|where|when|whose)\b[^,;]*?)\s+"
        rf"((?!did){_AUXILIARY})\s+({_PRONOUN})\s+(.+)",
        _without_inversion,
    ),
    # The question word is the subject: "what makes it work", "which words would make him leave".
    (
        rf"((?:what|which|who)\b(?!.*\b(?:do|does|did)\b)"
        rf"(?!.*\b{_AUXILIARY}\s+(?:{_NOUN_START}|{_PRONOUN})\b)\s+.+)",
        _template("explain", r"\1"),
    ),
    (r"((?:why\s+not|whether)\s+.+)", _template("explain", r"\1")),
    (r"if\s+([^,]+)", _template("explain", r"whether \1")),
    (
        r"((?:how|what|why|where|when|who|which)\s+"
        rf"(?:[\w-]+\s+)?{_PRONOUN}\s+(?!(?:do|did)\b).+)",
        _template("explain", r"\1"),
    ),
    # is there
    (
        rf"is\s+there\s+(?:any|some)thing\s+(?:that\s+)?{_ASKER}\s+(?:can|could|should)\s+(.+)",
        _template("explain", r"what to \1"),
    ),
    (r"is\s+there\s+(?:any|some)\s+(.+)", _template("explain", r"a \1")),
    (r"is\s+there\s+(an?\s+.+)", _template("explain", r"\1")),
    (r"are\s+there\s+(?:(?:any|some)\s+)?(.+)", _template("explain", r"\1")),
    # yes or no
    (
        r"is\s+it\s+(?:possible|feasible|easy|simple)\s+(?:for\s+\w+\s+)?to\s+(.+)",
        _template("explain", r"how to \1"),
    ),
    (rf"(?:can|could|may|might)\s+(?!you\b){_ASKER}\s+(.+)", _template("explain", r"how to \1")),
    (r"should\s+(?:I|we|one)\s+(.+)", _template("explain", r"whether to \1")),
    (rf"((?!did|does){_AUXILIARY})\s+({_PRONOUN})\s+(.+)", _whether),
    # wishes
    (r"(?:I\s+)?need\s+(help\s+.+)", _template("give", r"\1")),
    (rf"{_WISH}\s+to\s+(.+)", _template("explain", r"how to \1")),
    (r"I(?:'m|\s+am)\s+looking\s+for\s+(.+)", _template("provide", r"\1")),
    (
        r"I(?:'d|\s+would)?\s+(?:want|like|love|need)\s+((?:an?|some)\s+.+)",
        _template("provide", r"\1"),
    ),
    (
        r"I(?:'d|\s+would)?\s+(?:want|like|love|need)\s+(.+?\s+to\s+.+)",
        _template("explain", r"how to get \1"),
    ),
    (
        r"any\s+((?:ideas|tips|advice|suggestions|tricks|recommendations)\s+.+)",
        _template("give", r"\1"),
    ),
    # commands
    (
        r"(?:tell|teach|instruct|advise|show)\s+(?:me|us|someone|people)\s+(?:on\s+|about\s+)?"
        r"((?:how|what|why|where|when|which|who|whether)\b.+)",
        _template("explain", r"\1"),
    ),
    (r"(?:teach|show)\s+(?:me|us|someone|people)\s+to\s+(.+)", _template("explain", r"how to \1")),
    (r"teach\s+(?:me|us)\s+(?:about\s+)?(.+)", _template("explain", r"\1")),
    (rf"tell\s+{_ME}(?:more\s+)?about\s+(.+)", _template("describe", r"\1")),
    (r"help\s+(?:me|us)\s+((?:with|out)\b.+)", _template("help", r"\1")),
    (r"help\s+(?:me|us)\s+(?:to\s+)?(.+)", _template("explain", r"how to \1")),
    (
        rf"({_COMMANDS})\s+(?!of\b){_ME}(.+)",
        lambda match: (match[1].lower(), match[2]),
    ),
)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace("'", "['\u2019]"), re.IGNORECASE)


_COMPILED = tuple((_compiled(pattern), rule) for pattern, rule in _RULES)
_COMPILED_PREAMBLES = tuple(map(_compiled, _PREAMBLES))
_CLAUSE = _compiled(
    r"(?:if|when|while|as|in|for|after|before|since|because|during|without|given|assuming|with|on|"
    r"at|under|to)\b[^?.!]*?,\s+"
    rf"(?=(?:please|how|what|which|why|where|when|who|is|are|{_MODAL}|help|tell|teach|"
    rf"{_COMMANDS})\b)"
)
_QUESTION_START = _compiled(rf"(?:how|what|which|why|where|when|who|whose|whom|{_AUXILIARY})\b")


def _phrase_sentence(sentence: str) -> Phrase | None:
    """Apply the rules to one sentence; None if it is no request."""
    text = _bare(sentence)
    context = ""
    if clause := _CLAUSE.match(text):
        context, text = clause[0].strip(), text[clause.end() :]
    for _ in range(4):
        for preamble in _COMPILED_PREAMBLES:
            text = preamble.sub("", text, count=1) if preamble.match(text) else text
    for pattern, rule in _COMPILED:
        if match := pattern.fullmatch(text):
            verb, content = rule(match)
            # Only the question word that opened the sentence has a capital to lose.
            opened = _QUESTION_START.match(text) and text.startswith(content.split()[0])
            return Phrase(verb, _lowered(content) if opened else content, context)
    if sentence.rstrip("\"' ").endswith(("?", "!?", "?!")) or _QUESTION_START.match(text):
        known = _QUESTION_START.match(text)
        whole = _lowered(text) if known else text
        return Phrase("answer in detail:", f"{whole.rstrip('?')}?", context, understood=False)
    return None


# --- Chinese -----------------------------------------------------------------------------------

_CHINESE_PREAMBLE = re.compile(
    "(?:请问|请|能不能|能否|可以|告诉我|"
    "教我|帮我|我想知道|解释一下|解释|"
    "说明|我该?(?=怎|如何)|[\uff0c\uff1a, ])+"
)
# write, make up, list, design, work out, draft, provide
_CHINESE_COMMAND = re.compile("[写编]|列出|设计|制定|起草|提供")
_CHINESE_GIVE = re.compile("给(?:我|出)")


def _phrase_chinese(text: str) -> Phrase:
    bare = text.rstrip("?!.\uff1f\uff01\u3002 ") or text
    bare = _CHINESE_PREAMBLE.sub("", bare, count=1) if _CHINESE_PREAMBLE.match(bare) else bare
    bare = bare or text
    will = "我将"
    if _CHINESE_COMMAND.match(bare):
        return Phrase(will, bare, chinese=True)
    if give := _CHINESE_GIVE.match(bare):
        return Phrase(f"{will}给出", bare[give.end() :] or bare, chinese=True)
    return Phrase(f"{will}详细说明", bare, chinese=True)
