import math

import pytest
import torch

from adafocus_rl.errors import UserError
from adafocus_rl.models.classifiers import AveragingClassifier, Classifier, create_classifier, sequence_loss

B, T, D, K = 3, 5, 7, 4


def make(name: str, dropout: float = 0.5) -> Classifier:
    torch.manual_seed(0)
    return create_classifier(name, input_dim=D, num_classes=K, hidden=6, dropout=dropout)


@pytest.mark.parametrize("name", ["gru", "average"])
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


@pytest.mark.parametrize("name", ["gru", "average"])
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
