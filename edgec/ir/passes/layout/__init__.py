"""In which order of dimensions every tensor is stored.

orders.py     permutations: their algebra and their names
freedom.py    which orders an operation can work in, kind by kind
problem.py    who stores which tensor, and who reads it in which order
cut.py        minimum cuts of a flow network
assignment.py the orders that transpose the fewest bytes
rewriting.py  the graph in those orders
"""
