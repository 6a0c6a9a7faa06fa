"""The parts of a local stack: Kafka, tritonserver, a language-model server, and the supervisor of `up`.

One file an outside system. Each says how its part is started (`*_part`) and, run as a module, prepares
what the server needs and then becomes the server. The rest: `installed` (where the parts are),
`setup` (puts them there), `process` (the value `Part`), `supervisor` (starts, watches, stops),
`stack` (which parts make a stack) and `doctor` (what is missing, each with its fix).
"""
