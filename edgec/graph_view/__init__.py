"""The graph with what each node costs and loses, in the forms that viewers of graphs read.

measures.py       what is shown: a file, a title and a way of colouring for each measure
layers.py         from the documents of a build or a diagnosis to what is known of each node
onnx_file.py      an ONNX model that carries it as metadata of nodes: Netron shows it beside a node's attributes
node_data.py      Model Explorer's node data: one file a measure, which colours nodes
payload_names.py  the nodes of the ONNX model among the operators of a .tflite payload
writing.py        all of it into a folder
"""
