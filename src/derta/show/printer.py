"""How the parts of a training row look in a terminal, with and without colour.

Every token stands in a column; under it stands what the model is taught to say next. Tokens are
hostile text (`derta.terminal.visible`), the harmful response's are masked. Not covered: which
tokens and targets there are (`derta.show.layout`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from derta.packing import shared_length
from derta.rows import EncodedHelpful, EncodedTriple, Method, TargetKind, TrainingRow
from derta.show.layout import Cell, Part, Role
from derta.terminal import mask, visible

__all__ = ["Printer"]

_ROLE_STYLES = {
    Role.PROMPT: "dim",
    Role.HARMFUL: "red",
    Role.SAFE: "green",
    Role.HELPFUL: "cyan",
}
_TARGET_STYLES = {
    TargetKind.HELPFUL: "bold cyan",
    TargetKind.SAFE_RESPONSE: "bold green",
    TargetKind.REFUSAL_TRANSITION: "bold yellow",
}
_WHAT_IT_DOES = {
    Method.VANILLA: "to refuse at the start of a response, and only there",
    Method.HARMFUL_PREFIX: "to find a way out of a harmful response, into a safe one",
    Method.RTO: "to say the refusal word anywhere in a harmful response",
    Method.DERTA: "to refuse anywhere in a harmful response, and to refuse well",
}
_NOTHING = "·"
_LINES_SHOWN = 3
_WIDEST_TOKEN = 16


class Printer:
    """Prints one example."""

    def __init__(
        self,
        console: Console,
        decode: Callable[[list[int]], str],
        refusal_word: str,
        *,
        reveal: bool,
        full: bool,
    ) -> None:
        """Print on `console`; `decode` turns token ids into text."""
        self.console = console
        self.decode = decode
        self.refusal_word = refusal_word
        self.reveal = reveal
        self.full = full
        self._safe_was_shown = False

    def title(self, name: str, method: Method | str, epoch: int) -> None:
        """Print what is shown and how it is read."""
        self._line((f"derta show: {visible(name)}", "bold"), (f"  [{method}, epoch {epoch}]", ""))
        if isinstance(method, Method):
            self._line((f"The model learns {_WHAT_IT_DOES[method]}.", ""))
        self._line(
            ("reads", "bold"),
            (" the token, ", ""),
            ("says", "bold"),
            (f" the target under it: what to say next ({_NOTHING} = none here)", ""),
        )

    def note(self, text: str) -> None:
        """Print a remark on the whole example."""
        self._line((text, "italic"))

    def part(self, part: Part) -> None:
        """Print one part of the row; the prompt as text, all others token by token."""
        self.console.print()
        style = _ROLE_STYLES[part.role]
        count = len(part.cells)
        if part.role is Role.PROMPT:
            self._line((f"QUESTION q, {count} tokens: read, never a target", f"bold {style}"))
            text = self.decode([cell.token_id for cell in part.cells])
            self.console.print(Text(_one_line(text), style), soft_wrap=False)
            return
        self._line((self._heading(part), f"bold {style}"))
        cells = part.cells if part.before is None else (part.before, *part.cells)
        lines = list(self._lines(cells))
        first, last = _LINES_SHOWN - 1, 1
        if part.role is Role.SAFE:
            if self._safe_was_shown:  # the same tokens again, after another k
                first, last = 1, 0
            self._safe_was_shown = True
        if self.full or len(lines) <= first + last:
            first, last = len(lines), 0
        for line in lines[:first]:
            self._columns(line)
        end = len(lines) - last
        if first < end:
            self._elision([cell for line in lines[first:end] for cell in line])
        for line in lines[max(first, end) :]:
            self._columns(line)

    def numbers(
        self,
        rows: Sequence[TrainingRow],
        example: EncodedTriple | EncodedHelpful,
        harmful_prefix_lengths: Sequence[int],
        how_drawn: str,
    ) -> None:
        """Print how many tokens are computed, how many targets of each kind there are, and k."""
        shared, plain = shared_length(rows), sum(len(row) for row in rows)
        self.console.print()
        saved = "" if shared == plain else f" for {plain} in separate rows: {plain / shared:.2f} x"
        self._line(("tokens  ", "bold"), (f"{shared} computed{saved}", ""))
        kinds = [kind for row in rows for kind in row.target_kinds]
        said = []
        if isinstance(example, EncodedTriple) and TargetKind.REFUSAL_TRANSITION in kinds:
            places = len(example.harmful_ids) + 1
            kept = kinds.count(TargetKind.REFUSAL_TRANSITION)
            said.append(f"{kept} x {visible(self.refusal_word)} (of {places} places in h)")
        if TargetKind.SAFE_RESPONSE in kinds:
            said.append(f"{kinds.count(TargetKind.SAFE_RESPONSE)} of the safe response")
        if TargetKind.HELPFUL in kinds:
            said.append(f"{kinds.count(TargetKind.HELPFUL)} of the helpful response")
        self._line(("targets ", "bold"), (", ".join(said), ""))
        if isinstance(example, EncodedTriple) and harmful_prefix_lengths:
            drawn = ", ".join(str(length) for length in sorted(harmful_prefix_lengths))
            of = f"of {len(example.harmful_ids)} tokens of h, {how_drawn}"
            self._line(("k       ", "bold"), (f"{drawn} {of}", ""))

    # --- lines -------------------------------------------------------------------------------

    def _heading(self, part: Part) -> str:
        end = part.start + len(part.cells)
        word = visible(self.refusal_word)
        if part.role is Role.HELPFUL:
            return f"HELPFUL RESPONSE, {len(part.cells) + 1} tokens, target: its own next token"
        if part.role is Role.SAFE:
            after = f"token {part.start} of h" if part.start else "q"
            times = len(part.before.targets) if part.before else 1
            counted = f", counted {times} times" if times > 1 else ""
            return f"SAFE RESPONSE r, right after {after}, target: its own next token{counted}"
        where = f"{part.start + 1} to {end}"
        goes_on = " goes on without r" if part.start else ""
        taught = any(
            kind is TargetKind.REFUSAL_TRANSITION
            for cell in (*part.cells, *([part.before] if part.before else ()))
            for _, kind in cell.targets
        )
        masked = "" if self.reveal or part.start else " (masked, --reveal shows it)"
        what = f", target: {word}" if taught else ", read only"
        return f"HARMFUL RESPONSE h{goes_on}, tokens {where}{what}{masked}"

    def _lines(self, cells: Sequence[Cell]) -> Iterator[list[Cell]]:
        """Divide cells into lines that fit the console."""
        room = max(self.console.width - len("reads  "), _WIDEST_TOKEN)
        line: list[Cell] = []
        used = 0
        for cell in cells:
            width = self._width(cell)
            if line and used + width > room:
                yield line
                line, used = [], 0
            line.append(cell)
            used += width
        if line:
            yield line

    def _width(self, cell: Cell) -> int:
        return max(cell_len(self._token(cell)), cell_len(self._said(cell))) + 1

    def _columns(self, line: Sequence[Cell]) -> None:
        reads, says = Text("reads  ", "dim"), Text("says   ", "dim")
        for cell in line:
            width = self._width(cell)
            reads.append(set_cell_size(self._token(cell), width), _ROLE_STYLES[cell.role])
            kinds = [kind for _, kind in cell.targets]
            style = _TARGET_STYLES[kinds[-1]] if kinds else "dim"
            says.append(set_cell_size(self._said(cell), width), style)
        for text in (reads, says):
            text.rstrip()
            self.console.print(text, no_wrap=True, crop=False)

    def _elision(self, cells: Sequence[Cell]) -> None:
        with_target = sum(bool(cell.targets) for cell in cells)
        note = f"  ...  {len(cells)} tokens more, {with_target} with a target (--full shows them)"
        self._line((note, "dim"))

    def _token(self, cell: Cell) -> str:
        text = self._word(cell.token_id)
        if cell.role is Role.HARMFUL and not self.reveal:
            return mask(text)
        return text

    def _said(self, cell: Cell) -> str:
        words = dict.fromkeys(self._word(token) for token, _ in cell.targets)
        return "+".join(words) or _NOTHING

    def _word(self, token_id: int) -> str:
        text = self.decode([token_id])
        # The columns set words apart; a token that is nothing but space is drawn.
        shown = text.strip(" ") or "␣"
        return _shortened(_one_line(shown))

    def _line(self, *pieces: tuple[str, str]) -> None:
        self.console.print(Text.assemble(*pieces))


def _one_line(text: str) -> str:
    return visible(text.replace("\n", "⏎").replace("\t", "⇥"))


def _shortened(text: str) -> str:
    """Cut a long token so that it fits a narrow terminal."""
    if cell_len(text) <= _WIDEST_TOKEN:
        return text
    return set_cell_size(text, _WIDEST_TOKEN - 1) + "…"
