"""The newcomer: nothing is here yet. A look, a first run, away and back, and what comes next."""

from tests.walks.terminal import Terminal
from tests.walks.world import STARTER, World


def by_keys(t: Terminal, _: World) -> None:
    """`sftui demo`, a run of her own left and come back to, a talk with what it made."""
    t.shell("sftui demo")
    t.see("REPLAY", "sftui", "step")
    t.press("Space")
    t.see("Play")
    t.press("End")
    t.see("180/180", "all iterations done")
    t.whole()
    t.picture("demo")
    t.press("?")
    t.see("The run|keys")
    t.picture("help")
    t.press("Escape")
    t.gone("letters filter")
    t.press("q")
    t.wait_for_prompt()
    t.picture("after the demo")

    t.shell(f"{STARTER} --run mine")
    t.see("STARTING|RUNNING")
    t.see("RUNNING", "step [1-9]", seconds=120)
    t.picture("her run")
    t.press("q")
    said = t.wait_for_prompt()
    assert "sftui attach" in said, said
    t.shell("sftui runs")
    t.wait_for_prompt()
    t.see("mine")
    t.picture("runs")
    t.shell("sftui attach mine")
    t.see("FINISHED", seconds=180)
    t.whole()
    t.picture("finished")
    t.press("q")
    said = t.wait_for_prompt()
    for word in ("sftui chat", "sftui attach", "sftui report"):
        assert word in said, said
    t.picture("what comes next")
    t.shell('sftui chat mine --prompt "Please spell lily."')
    said = t.wait_for_prompt()
    assert len(said.strip().splitlines()) > 1, said


def by_mouse(t: Terminal, _: World) -> None:
    """The demo without a key: the clock, the bar, the zoom, a panel, help, and out."""
    t.shell("sftui demo --speed 1")
    t.see("REPLAY", "Pause")
    t.click("Pause")
    t.see("Play")
    width, height = t.size
    # The bar ends at the words beside it.
    end, bar = t.place_of("  step [0-9]+ of")
    t.drag((width // 3, bar), (end - 16, bar))
    t.see("step (9|1[0-9])[0-9]/|step [4-9][0-9]/")
    t.picture("mouse on the bar")
    x, y = width // 4, height // 3
    t.hover(x, y)
    t.see("step +[0-9]+")
    t.picture("mouse crosshair")
    t.wheel("up", x, y)
    t.see("zoom|×|step")
    t.picture("mouse zoom")
    t.click("Help")
    t.see("letters filter|The run|keys")
    t.picture("mouse help")
    t.click("Stop the clock")
    t.gone("letters filter")
    t.click("q Close")
    t.wait_for_prompt()
