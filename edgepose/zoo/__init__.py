"""The zoo: which models there are and what each needs (`registry`, `models.yaml`), and how its files come here (`download`)."""
