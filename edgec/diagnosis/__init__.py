"""Why a quantized model is wrong: layer by layer, from the finished bytes of both models, whoever made them."""
