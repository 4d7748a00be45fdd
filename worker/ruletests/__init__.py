"""Tests of rules: YAML timelines, played in virtual time and held against what they expect."""
