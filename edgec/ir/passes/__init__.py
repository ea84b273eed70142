"""From graph to graph: what backends run between importing a model and writing their own form of it.

The order, and why:

1. fold_constants. What is constant need not be looked at by any other pass.
2. place_transposes. Quantize and Dequantize are values like others, so the cheapest place for what remains, on int8,
   is seen from the start; and all that follows finds operations that belong together beside each other.
3. fuse. An activation or a bias belongs to the operation before it, in float as in integers, and rounding comes after
   both: they have to be one before integers are.
4. integer_operations. Reads Dequantize, operation, Quantize.
5. boundary_integers, where the inputs and outputs are to be integers.
6. decompose. Only what stayed in float needs a kernel in float; in integers there may be one for it.
"""
