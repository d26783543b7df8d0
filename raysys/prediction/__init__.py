"""A trained model's predictions for many recordings, by Ray on all nodes.

`inputs` lists the recordings, `shards` cuts the list, `decoding` and `predicting` do a shard's work, `pipeline` has Ray
Data do them all, `output` joins what they wrote, and `job` is the whole. Only `pipeline` and `job` know Ray.
"""
