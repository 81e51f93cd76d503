"""The product's functions under the names that programs kept as they came call them by."""

from types import SimpleNamespace

from sftui import report as _report

report = SimpleNamespace(open_case=_report.open_facts, markdown=_report.markdown)
