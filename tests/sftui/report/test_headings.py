"""The order of a report's sections, and who knows it."""

import pkgutil

from sftui.report import headings, sections


def test_every_section_is_a_module_of_its_name():
    """A heading is found by its file; the appendix has no number."""
    modules = {module.name for module in pkgutil.iter_modules(sections.__path__)}
    assert modules - {"appendix"} == set(headings.HEADINGS)
    for name, (english, _) in headings.HEADINGS.items():
        assert english.lower().replace(" ", "_") == name


def test_the_number_of_a_section_is_its_place():
    """A sentence that points to a section asks for its number."""
    assert [headings.number(name) for name in headings.HEADINGS] == list(range(1, 18))
