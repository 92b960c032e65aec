"""The zoo: models (`models.yaml`, `registry`, `fields`), their decoders (`decoders`), their files (`download`, `local`)."""
