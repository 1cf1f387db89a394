"""Migrations of the history's database; `dp2bench.engine.history` applies them when it opens one."""
