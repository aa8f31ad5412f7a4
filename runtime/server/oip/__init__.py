"""The Open Inference Protocol v2 over HTTP, with Triton's extensions.

Those are binary tensors, statistics, model configuration and the model repository. After
https://github.com/kserve/open-inference-protocol and https://github.com/triton-inference-server/server (docs/protocol).
"""
