"""The five lines from Python, on the digits: what `make wheel` tries."""

import sys

from sklearn.datasets import load_digits

import sdnas_jax

images = (load_digits().images[:300] * 15.9).astype('uint8')[..., None]
labels = load_digits().target[:300]
tiny = {'epochs': 2, 'model__channels': 4, 'model__layers': 2}
found = sdnas_jax.search(images, labels, config='search_digits', **tiny)
network = found.train(config='evaluate_digits', **tiny)
print(found, network.accuracy, network.predict(images[:5]))
network.save('digits.stablehlo')
needless = {'tensorflow', 'tensorflow_datasets'} & {*sys.modules}
assert not needless, needless
