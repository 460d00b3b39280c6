"""Amazon's model of S3, compiled: routes, readers of input, writers of output.

`shapes` holds what the file says, `matching` finds the operation of a request, `reader` makes a
structure of a request, `writer` an answer of a structure; `structs` has the classes and `documents`
the XML. A request costs no look into the model: what an operation needs is compiled once, when it
is first asked for.
"""
