"""Reach the lab's machines, the programs of the studio on them, and the studio's own commands."""
