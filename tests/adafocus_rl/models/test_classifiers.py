import copy
import math

import numpy as np
import pytest
import torch

from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import AveragingClassifier, Classifier, create_classifier, sequence_loss

B, T, D, K = 3, 5, 7, 4


def make(name: str, dropout: float = 0.5) -> Classifier:
    torch.manual_seed(0)
    return create_classifier(name, input_dim=D, num_classes=K, hidden=6, dropout=dropout)


@pytest.mark.parametrize("name", ["gru", "average", "max_pool"])
def test_one_sequence_call_equals_one_cell_call_per_step(name: str) -> None:
    classifier = make(name).double().eval()
    x = torch.randn(B, T, D, dtype=torch.float64)
    state = classifier.initial_state(B, dtype=torch.float64)
    steps = []
    for t in range(T):
        state = classifier.cell(x[:, t], state)
        steps.append(state)
    states = classifier.sequence(x)
    assert states.shape == (B, T, classifier.state_dim)
    torch.testing.assert_close(states, torch.stack(steps, dim=1))
    logits = classifier.logits(states)
    assert logits.shape == (B, T, K)
    torch.testing.assert_close(classifier(x), logits)
    # Going on from the middle gives the same second half.
    torch.testing.assert_close(classifier.sequence(x[:, 2:], state=states[:, 1]), states[:, 2:])


def test_gru_follows_the_textbook() -> None:
    classifier = make("gru").eval()
    x, h = torch.randn(2, D), torch.randn(2, 6)
    parameters = dict(classifier.named_parameters())
    gates_x = (x @ parameters["gru.weight_ih_l0"].T + parameters["gru.bias_ih_l0"]).chunk(3, dim=-1)
    gates_h = (h @ parameters["gru.weight_hh_l0"].T + parameters["gru.bias_hh_l0"]).chunk(3, dim=-1)
    reset, update = torch.sigmoid(gates_x[0] + gates_h[0]), torch.sigmoid(gates_x[1] + gates_h[1])
    expected = (1 - update) * torch.tanh(gates_x[2] + reset * gates_h[2]) + update * h
    torch.testing.assert_close(classifier.cell(x, h), expected)


def test_averaging_gives_the_mean_of_the_frames_own_logits() -> None:
    classifier = AveragingClassifier(input_dim=D, num_classes=K).eval()
    x = torch.randn(B, T, D)
    own = classifier.fc(x)
    for t in range(T):
        torch.testing.assert_close(classifier(x)[:, t], own[:, : t + 1].mean(dim=1))
    assert torch.equal(classifier.logits(classifier.initial_state(2)), torch.zeros(2, K))


def test_the_maximum_of_the_frames_own_vectors_so_far() -> None:
    """AdaFocusV2's steps in NumPy: linear layer, batch normalisation, ReLU, maximum, linear layer."""
    classifier = make("max_pool")
    x = torch.randn(B, T, D)
    values = {name: value.double().numpy() for name, value in classifier.state_dict().items()}
    frames = x.double().numpy() @ values["linear.weight"].T + values["linear.bias"]
    mean, var = frames.mean((0, 1)), frames.var((0, 1))
    trained = classifier.train().sequence(x)
    expected = np.maximum((frames - mean) / np.sqrt(var + 1e-5), 0)
    for t in range(T):
        np.testing.assert_allclose(trained[:, t].detach(), expected[:, : t + 1].max(1), rtol=1e-4, atol=1e-5)
    # The running statistics moved by a tenth: from mean 0 and variance 1.
    count = B * T
    frames = (frames - 0.1 * mean) / np.sqrt(0.9 + 0.1 * var * count / (count - 1) + 1e-5)
    pooled = np.maximum.accumulate(np.maximum(frames, 0), axis=1)
    logits = pooled @ values["fc.weight"].T + values["fc.bias"]
    np.testing.assert_allclose(classifier.eval()(x).detach(), logits, rtol=1e-4, atol=1e-5)


def test_one_frame_is_normalised_by_the_running_statistics() -> None:
    classifier = make("max_pool", dropout=0.0)
    x = torch.randn(1, 1, D)
    classifier.train()(torch.randn(B, T, D))
    before = copy.deepcopy(classifier.state_dict())
    assert torch.equal(classifier.train()(x), classifier.eval()(x))
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


@pytest.mark.parametrize("name", ["gru", "max_pool"])
def test_ten_clips_are_learnt(name: str) -> None:
    """With a loss after every step, the last one included."""
    classifier = make(name, dropout=0.0)
    x, labels = torch.randn(10, T, D), torch.arange(10) % K
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.3, momentum=0.9)
    for _ in range(300):
        optimizer.zero_grad()
        sequence_loss(classifier.train()(x), labels).backward()
        optimizer.step()
    assert torch.equal(classifier.eval()(x)[:, -1].argmax(-1), labels)


@pytest.mark.parametrize("name", ["gru", "average", "max_pool"])
def test_dropout_acts_in_training_only(name: str) -> None:
    classifier = make(name)
    x = torch.randn(B, T, D)
    assert not torch.equal(classifier.train()(x), classifier(x))
    assert torch.equal(classifier.eval()(x), classifier(x))


def test_initial_state_takes_device_and_dtype() -> None:
    state = make("gru").initial_state(2, device="cpu", dtype=torch.bfloat16)
    assert state.shape == (2, 6)
    assert state.dtype == torch.bfloat16
    assert not state.any()


def test_sequence_loss_in_closed_form() -> None:
    labels = torch.tensor([1, 3])
    assert sequence_loss(torch.zeros(2, T, K), labels).item() == pytest.approx(math.log(K))
    # A step that is sure and right costs nothing, one that knows nothing log K.
    logits = torch.zeros(2, 2, K)
    logits[0, 0, 1] = logits[1, 1, 3] = 1000.0
    assert sequence_loss(logits, labels).item() == pytest.approx(math.log(K) / 2)


def test_unknown_name() -> None:
    with pytest.raises(UserError, match="unknown classifier 'lstm'"):
        make("lstm")
