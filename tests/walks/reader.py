"""The one who reads logs: somebody else's trainer, its lines and numbers, copied and exported."""

import shutil

from tests.walks.terminal import Terminal
from tests.walks.world import World


def by_keys(t: Terminal, _: World) -> None:
    """Search, one whole line, wrap, repeats, a point and its line, charts, copy, export."""
    t.shell('sftui replay "their trainer.log"')
    # A narrow screen has no row for what kind of log it is.
    t.see("REPLAY", "Hugging Face" if t.size[0] >= 120 else "finished")
    t.press("End")
    t.see("finished|100")
    t.whole()
    t.picture("log replayed")
    t.press("5", "/")
    t.call("send-keys", "-l", "arguments")
    t.see("arguments")
    t.press("Enter")
    t.picture("search")
    t.press("Escape", "5", "\\")
    t.see("warn|all|file")
    t.press("Up", "Enter")
    t.see("y copies|copy|line")
    t.picture("whole line")
    t.press("y")
    t.see("[Cc]opied")
    assert t.clipboard().strip(), "nothing was copied"
    t.press("Escape", "W", "F")
    t.picture("wrapped and unfolded")
    t.press("W", "F", "L")
    t.picture("point of the line")
    t.press("Escape", "1", "Enter")
    t.see("crosshair")
    t.press("Left", "Left", "y")
    t.see("[Cc]opied")
    copied = t.clipboard()
    assert "step" in copied, copied
    assert "train" in copied, copied
    t.press("Escape", "m")
    t.gone("─ now ─")
    t.see("grad")
    t.whole()
    t.picture("charts")
    t.press("/")
    t.write("grad")
    t.press("Enter")
    t.picture("one chart")
    t.press("Escape", "Escape", "Escape", "Escape")
    t.gone("charts [0-9]")
    t.press("Y")
    t.see(r"\.csv", seconds=60)
    t.picture("exported")
    t.press("q")
    t.wait_for_prompt()
    # Of another program's log they lie in the folder where the screen was opened.
    [csv] = t.place.glob("*.csv")
    assert sorted(p.suffix for p in t.place.glob(f"{csv.stem}.*")) == [".csv", ".png", ".svg"]
    for kind in (".svg", ".png"):
        shutil.copy(csv.with_suffix(kind), t.pictures / f"exported{kind}")
    t.shell(f"sftui replay '{csv.name}'")
    t.see("REPLAY", "csv|CSV" if t.size[0] >= 120 else "step 300")
    t.press("End")
    t.whole()
    t.picture("the export replayed")
    t.press("q")
    t.wait_for_prompt()
    t.shell('sftui show "their trainer.log"')
    t.wait_for_prompt()
    t.picture("printed")
    t.shell('sftui show "their trainer.log" --series loss --csv | tail -3')
    said = t.wait_for_prompt()
    assert "," in said, said


def by_mouse(t: Terminal, _: World) -> None:
    """Panels by their borders, lines by their rows, charts by a box, and the wheel."""
    width, height = t.size
    t.shell('sftui replay "their trainer.log"')
    t.see("REPLAY", "finished")
    # The knob is at the end of what was read.
    end, bar = t.place_of("●(?=  all at once)")
    t.drag((end, bar), (width // 3, bar))
    t.see("step [1-9][0-9] ")
    t.picture("mouse back on the bar")
    t.drag((width // 3, bar), (width - 2, bar))
    t.see("step 300 of 300")
    if width >= 120:
        x, y = t.place_of("─ log ─")
        t.wheel("up", x + 10, y + 3)
        t.picture("mouse log wheel")
        t.click("─ log ─", times=2, dx=8)
        t.see("log")
        t.picture("mouse log alone")
        t.click("─ log ─", times=2, dx=8)
        t.see("loss")
    t.drag((width // 5, height // 3), (width // 3, height // 3 + 4))
    t.picture("mouse box")
    t.click("loss", times=2, dx=10, dy=5)
    if width >= 120:  # a narrow footer has no room for the word
        t.click("m Charts")
        t.see("grad")
        t.click("grad", times=2, dy=3)
        t.picture("mouse one chart")
        t.click("All charts")
        t.see("loss")
        t.click("m Close")
        t.gone("charts [0-9]")
    t.click("q Close")
    t.wait_for_prompt()
