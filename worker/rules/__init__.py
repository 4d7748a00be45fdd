"""Rule files to one frozen `RuleSet`. `ruleset` is what the rest of the program sees."""
