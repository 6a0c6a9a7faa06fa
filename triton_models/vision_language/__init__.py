"""A vision-language model, split in two: its eye for Triton, its language model for the generator.

    checkpoint        a local folder with a published model: what it is, under which licence, unchanged
    split             what a class of models must say to be split; idefics3, llava_onevision, qwen2_5_vl say it
    towers            vision tower and connector of each class as one torch module
    graph             such a module as an ONNX file; the call that makes a TensorRT plan of it
    halves            both halves on disk, with the digest of each file
    eye               the vision half under ONNX Runtime: a picture → visual tokens
    visual_tokens     what travels between the halves: safetensors bytes
    decoders          the language model of each class, standing alone
    language          the language half: prompt and visual tokens → words (the reference engine)
    parity            the proof: `questions` asked of two `sides`, the halves and transformers' own `generate`
    tiny              checkpoints with random weights, to prove it on

`towers`, `decoders`, `language`, `tiny` and the proof need torch and transformers; so does what writes a graph or the
halves. What serves imports none of these: a picture's preparation and arrangement, its place in the prompt and its
positions are plain numpy.
"""
