"""Audits of a pretext score: does it come from motion, or from something simpler?"""
