"""The one who decides: which of two runs, which checkpoint, and what to tell the others."""

from tests.walks.terminal import Terminal
from tests.walks.world import World


def by_keys(t: Terminal, _: World) -> None:
    """Compare, the run before, a baseline, questions, checkpoints and their answers, a report."""
    t.shell("sftui compare first second")
    t.see("against", "first", "second")
    t.whole()
    t.picture("compare")
    _read_on(t, "init_lr_frac")
    t.press("l", "s", "Left", "y")
    t.copied("second")
    t.press("m")
    t.see("charts 1", "loss by row")
    t.picture("compare charts")
    t.press("q", "q")
    t.wait_for_prompt()

    t.shell("sftui attach second")
    t.see("FINISHED")
    t.whole()
    t.verb("compare last")
    t.see("against", "first", "second")
    _read_on(t, "init_lr_frac")
    t.press("q")
    t.see("FINISHED")
    t.verb("baseline first")
    t.gone("baseline FILE")
    t.see("vs first|against first|first")
    t.picture("baseline")
    t.press("w")
    t.see("[Qq]uestion", "gained|lost|flipped")
    t.press("Down", "y")
    t.see("[Cc]opied")
    t.picture("questions")
    t.press("Escape", "c")
    t.see("step 41|step 40", "on disk")
    t.picture("checkpoints")
    t.press("y")
    t.copied("ckpt/")
    t.press("p")
    t.write("Please spell lily.")
    t.see("spell", "→|spelled|It is", seconds=60)
    t.picture("answers")
    t.press("Escape")
    t.see("FINISHED")
    t.verb("report zh")
    # A narrow notice breaks its path over two rows.
    t.see("Report in", seconds=90)
    t.picture("reported")
    t.press("q")
    t.wait_for_prompt()
    [report] = t.place.glob("runs/*-second/report.zh.md")
    assert "报告" in report.read_text() or "训练" in report.read_text()
    t.shell("sftui compare first second --plain | head -40")
    t.wait_for_prompt()


def _read_on(t: Terminal, text: str) -> None:
    """Page down to a text that a small screen has below the fold."""
    for _ in range(6):
        if text in t.screen():
            break
        t.press("PageDown")
    t.see(text)


def by_mouse(t: Terminal, _: World) -> None:
    """The runs by their rows, the chart by wheel and box, checkpoints and questions by rows."""
    width, height = t.size
    t.shell("sftui compare first second")
    t.see("against", "first", "second")
    t.click("second", skip=0)
    t.wheel("up", width // 3, height // 4)
    t.picture("mouse compare")
    t.click("q Close")
    t.wait_for_prompt()
    t.shell("sftui attach second")
    t.see("FINISHED")
    if width >= 120:
        t.click("step 20", times=2)
        t.see("[Mm]ark|[Ee]xport")
        t.picture("mouse checkpoint")
        t.click("esc Close")
        t.gone("esc Close")
        t.click("w Questions")
        t.see("gained|lost|flipped")
        t.picture("mouse questions")
        t.click("t Task")
        t.see("questions · Starter-Lists")
        t.click("esc Close")
        t.gone("esc Close")
    else:
        t.click("c Checkpoints")
        t.see("step 20", "on disk")
        t.picture("mouse checkpoints")
        t.click("esc Close")
        t.gone("esc Close")
    t.click("q Close")
    t.wait_for_prompt()
