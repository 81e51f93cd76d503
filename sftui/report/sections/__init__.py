"""A report's sections, a module each: `headings` has their order, names and headings.

A section takes the language and the facts and returns Markdown, or None where it is left out.
"""
