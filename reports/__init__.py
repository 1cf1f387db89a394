"""Reports of a run: tables, figures, contact sheet, and the published numbers to compare with."""
