"""Build plane of the model packages: from labelled text to a signed directory.

Reading order:

* `settings`: where things are, and every number of the recipe.
* `words`, `bio`, `labels`: what a word, a tag and a label are (standard library only).
* `corpus`, `noise`, `orders`: the text to learn from, and how it is varied.
* `encoder`, `joint`: the network, and the training of both tasks on one encoder.
* `quantize`, `reference`: int8 weights, and the arithmetic a device performs on them.
* `export`, `calibrate`, `evaluate`, `package`: what ships, and how good it is.
* `__main__`: the steps, in order, each of them skipped when its result is there.

Invariants: a seed decides every random choice; no text of the data sets enters a package;
a calibration score always comes from a network that was not trained on that text.
"""
