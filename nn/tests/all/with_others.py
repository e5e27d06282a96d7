"""Does with other programs what the tests beside this file compare with ours.

    python with_others.py PART DIRECTORY

PART is numpy, torch, keras, tensorflow, paddle or tensorboard. Reads what the test wrote into the directory, may write files for it
there, and prints what it found as JSON.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# One feature, several minibatches.
BATCHES = [[1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0], [0.5, -1.0, 7.0, 2.0]]
# Gradients of one weight that starts from 1.
GRADIENTS = [-10.0, 3.0, 0.5, -2.0]


def numpy_part(directory):
    import numpy as np

    ours = np.load(directory / "ours.npz")
    found = {name: [str(a.dtype), list(a.shape), a.ravel().tolist()] for name, a in ours.items()}
    image = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    arrays = {
        "bytes": image,
        "fortran": np.asfortranarray(image.astype(">i4")),
        "halves": np.array([[0.5, -2.0]], dtype=np.float16),
        "doubles": np.linspace(0, 1, 7),
        "flags": np.array([True, False]),
        "labels": np.array([[2], [0]], dtype=np.int64),
        "single": np.array(3.5, dtype=np.float32),
    }
    np.savez(directory / "theirs.npz", **arrays)
    np.savez_compressed(directory / "deflated.npz", **arrays)
    np.save(directory / "objects.npy", np.array([{}, None], dtype=object), allow_pickle=True)
    return found


def torch_part(directory):
    import numpy as np
    import torch
    from safetensors.torch import load_file, save_file
    from torch import nn

    torch.set_num_threads(1)

    def network(bias=False):
        return nn.Sequential(
            nn.Linear(6, 8, bias=bias), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 4)
        ).double()

    def images():
        return nn.Sequential(
            nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 4)
        )

    def trained(name, x, y):
        module = network()
        module.load_state_dict(load_file(directory / "start.safetensors"))
        weights = [p for p in module.parameters() if p.dim() > 1]
        others = [p for p in module.parameters() if p.dim() == 1]
        optimizer = {
            "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
            "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
            "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
            "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
            "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
            "adam": lambda p: torch.optim.Adam(p),
            "adamw": lambda p: torch.optim.AdamW(
                [{"params": weights, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}], lr=0.01
            ),
            "adamw_all": lambda p: torch.optim.AdamW(p),
        }[name](module.parameters())
        for _ in range(2):
            for rows in range(0, len(x), 8):
                optimizer.zero_grad()
                nn.CrossEntropyLoss()(module(x[rows : rows + 8]), y[rows : rows + 8]).backward()
                optimizer.step()
        return module

    data = np.load(directory / "data.npz")
    x, y = torch.from_numpy(data["x"]), torch.from_numpy(data["y"].ravel()).long()
    found = {"difference": {}, "logits": {}}
    for name in ["sgd", "momentum", "nesterov", "rmsprop", "adagrad", "adam", "adamw", "adamw_all"]:
        module = trained(name, x, y)
        state = module.state_dict()
        ours = load_file(directory / f"{name}.safetensors")
        assert set(ours) == set(state), (sorted(ours), sorted(state))
        found["difference"][name] = max((ours[key] - value).abs().max().item() for key, value in state.items())
        # Ours, loaded, say there what they say here.
        loaded = network()
        loaded.load_state_dict(ours)
        found["logits"][name] = loaded.eval()(x).ravel().tolist()
    npz = np.load(directory / "adam.npz")
    loaded = network()
    loaded.load_state_dict({name: torch.from_numpy(npz[name]) for name in npz.files})
    found["logits"]["npz"] = loaded.eval()(x).ravel().tolist()

    torch.manual_seed(1)
    theirs = network()
    for _ in range(5):
        theirs(torch.randn(16, 6).double() * 3 + 1)
    save_file(theirs.state_dict(), directory / "theirs.safetensors")
    np.savez(directory / "theirs.npz", **{name: value.numpy() for name, value in theirs.state_dict().items()})
    found["theirs"] = theirs.eval()(x).ravel().tolist()

    # As the page about migration moves a bias that stands before batch normalisation.
    biased = network(bias=True)
    for _ in range(5):
        biased(torch.randn(16, 6).double() * 3 + 1)
    found["biased"] = biased.eval()(x).ravel().tolist()
    state = biased.state_dict()
    state["1.running_mean"] -= state.pop("0.bias")
    save_file(state, directory / "biased.safetensors")
    pixels = torch.from_numpy(data["pixels"]).float()
    convolutional = images()
    convolutional.load_state_dict(load_file(directory / "images.safetensors"))
    found["images"] = convolutional.eval()(pixels.view(-1, 2, 6, 6)).ravel().tolist()
    convolutional = images()
    convolutional(torch.randn(4, 2, 6, 6) + 1)
    save_file(convolutional.state_dict(), directory / "their_images.safetensors")
    found["their_images"] = convolutional.eval()(pixels.view(-1, 2, 6, 6)).ravel().tolist()

    def statistics(layer):
        course = []
        for batch in BATCHES:
            layer(torch.tensor(batch).double().view(4, 1))
            course.append([layer.running_mean.item(), layer.running_var.item()])
        return course

    found["PyTorch"] = statistics(nn.BatchNorm1d(1).double())
    found["Cumulative"] = statistics(nn.BatchNorm1d(1, momentum=None).double())
    found["epsilon"] = nn.BatchNorm1d(1).eps
    weight = torch.empty(25, 12288)
    found["limits"] = {
        "XavierUniform": nn.init.xavier_uniform_(weight).abs().max().item(),
        "TorchUniform": nn.Linear(12288, 25).weight.abs().max().item(),
        "HeUniform": nn.init.kaiming_uniform_(weight, nonlinearity="relu").abs().max().item(),
    }
    return found


def keras_part(_):
    import keras
    import numpy as np

    def steps(optimizer, rates=()):
        weight = keras.Variable(np.ones(1, dtype=np.float32))
        course = []
        optimizer.build([weight])
        for index, gradient in enumerate(GRADIENTS):
            if rates:
                optimizer.learning_rate = rates[index]
            optimizer.apply([keras.ops.convert_to_tensor(np.array([gradient], dtype=np.float32))])
            course.append(float(weight.numpy()[0]))
        return course

    layer = keras.layers.BatchNormalization()
    course = []
    for batch in BATCHES:
        layer(np.array(batch, dtype=np.float32).reshape(4, 1), training=True)
        course.append([float(layer.moving_mean.numpy()[0]), float(layer.moving_variance.numpy()[0])])
    frozen = keras.layers.BatchNormalization()
    frozen.build((None, 1))
    frozen.trainable = False
    frozen(np.array(BATCHES[0], dtype=np.float32).reshape(4, 1), training=True)
    limit = np.abs(keras.initializers.GlorotUniform(seed=1)((12288, 25)).numpy()).max()
    optimizers = keras.optimizers
    decay = optimizers.schedules.InverseTimeDecay(1.0, 1, 0.5)
    return {
        "Keras": course,
        "epsilon": layer.epsilon,
        "frozen": [float(frozen.moving_mean.numpy()[0]), float(frozen.moving_variance.numpy()[0])],
        "limits": {"XavierUniform": float(limit)},
        "steps": {
            "sgd": steps(optimizers.SGD()),
            "momentum": steps(optimizers.SGD(momentum=0.9)),
            "nesterov": steps(optimizers.SGD(momentum=0.9, nesterov=True)),
            "rmsprop": steps(optimizers.RMSprop()),
            "adam": steps(optimizers.Adam()),
            "rmsprop_place": steps(optimizers.RMSprop(learning_rate=0.5, epsilon=2.0)),
            "adam_place": steps(optimizers.Adam(learning_rate=0.5, epsilon=2.0)),
            "rates": steps(optimizers.SGD(momentum=0.9), rates=[0.1, 0.01, 0.1, 0.02]),
        },
        "decay": [float(decay(step)) for step in range(4)],
    }


def tensorflow_part(_):
    import tensorflow as tf

    mean, variance = tf.zeros(1), tf.ones(1)
    course = []
    for batch in BATCHES:
        x = tf.reshape(tf.constant(batch), [4, 1, 1, 1])
        _, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            x, tf.ones(1), tf.zeros(1), mean=mean, variance=variance, epsilon=1e-3, is_training=True, exponential_avg_factor=0.01
        )
        course.append([float(mean[0]), float(variance[0])])
    return {"TensorFlowFused": course}


def paddle_part(_):
    import numpy as np
    import paddle

    layer = paddle.nn.BatchNorm1D(1)
    course = []
    for batch in BATCHES:
        layer(paddle.to_tensor(np.array(batch, dtype=np.float32).reshape(4, 1)))
        course.append([float(layer._mean.numpy()[0]), float(layer._variance.numpy()[0])])
    weight = paddle.create_parameter([1], "float32", default_initializer=paddle.nn.initializer.Constant(1.0))
    adam = paddle.optimizer.Adam(parameters=[weight])
    adam_course = []
    for gradient in GRADIENTS:
        (weight * gradient).sum().backward()
        adam.step()
        adam.clear_grad()
        adam_course.append(float(weight.numpy()[0]))
    return {"Onnx": course, "epsilon": layer._epsilon, "steps": {"adam": adam_course}}


def tensorboard_part(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(directory / "board"), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]}
    histograms = {}
    for tag in tags["histograms"]:
        values = [(e.step, e.histogram_value) for e in events.Histograms(tag)]
        histograms[tag] = [[step, h.min, h.max, h.num, h.sum, h.sum_squares, sum(h.bucket)] for step, h in values]
    nodes = []
    for node in events.Graph().node:
        extents = node.attr["_output_shapes"].list.shape[0].dim
        nodes.append([node.name, node.op, list(node.input), [extent.size for extent in extents], node.attr["parameters"].i])
    return {"scalars": scalars, "histograms": histograms, "graph": nodes}


def main():
    part, directory = sys.argv[1], Path(sys.argv[2])
    json.dump(globals()[f"{part}_part"](directory), sys.stdout, allow_nan=False)


main()
