"""Quantizing and the reference arithmetic. Needs NumPy; skipped without it."""

import math
import unittest

try:
    import numpy as np

    from landfall_train import quantize, reference
except ImportError as error:
    raise unittest.SkipTest("NumPy is not installed") from error


class Rows(unittest.TestCase):
    def test_an_entry_is_off_by_half_a_step_at_most(self) -> None:
        matrix = np.random.default_rng(1).normal(size=(16, 64)).astype(np.float32)
        quantized, scale = quantize.rows(matrix)
        error = np.abs(quantized * scale[:, None] - matrix)
        self.assertTrue((error <= scale[:, None] * 0.5001).all())
        self.assertEqual(np.abs(quantized).max(axis=1).tolist(), [127] * 16)

    def test_zero_rows_stay_zero(self) -> None:
        quantized, scale = quantize.rows(np.zeros((2, 3), np.float32))
        self.assertEqual((quantized.sum(), scale.tolist()), (0, [1.0, 1.0]))

    def test_halves_go_to_the_even_neighbour(self) -> None:
        quantized, _ = quantize.rows(np.array([[127, 0.5, 1.5, -2.5]], np.float32))
        self.assertEqual(quantized.tolist(), [[127, 0, 2, -2]])

    def test_a_linear_keeps_its_orientation(self) -> None:
        weight = np.array([[1, 2, 3], [-4, 5, -6]], np.float32)
        linear = quantize.Linear.of(weight, np.zeros(2, np.float32))
        self.assertEqual(linear.weight.shape, (3, 2))
        np.testing.assert_allclose(linear.weight * linear.scale, weight.T, atol=0.03)


class Arithmetic(unittest.TestCase):
    def test_erf(self) -> None:
        points = np.linspace(-4, 4, 101)
        expected = np.array([math.erf(point) for point in points])
        np.testing.assert_allclose(reference._erf(points), expected, atol=2e-7)

    def test_a_small_model_runs_and_one_text_does_not_disturb_another(self) -> None:
        model = reference.Reference(_tiny())
        first = model.hidden([1, 2, 3])
        model.hidden([4, 4])
        np.testing.assert_array_equal(model.hidden([1, 2, 3]), first)
        view = model.label("kind", first)
        self.assertEqual(view.logits.shape, (2,))
        np.testing.assert_allclose(view.pooled, first.mean(axis=0))

    def test_a_word_without_pieces_is_outside(self) -> None:
        model = reference.Reference(_tiny())
        rows = model.tags("parts", model.hidden([1, 2, 3]), [1, None])
        self.assertEqual(rows.shape, (2, 5))
        self.assertEqual(rows[1].argmax(), 0)

    def test_a_span_is_scored_by_its_two_ends(self) -> None:
        tiny = _tiny()
        model, hidden = reference.Reference(tiny), reference.Reference(tiny).hidden([1, 2, 3])
        logits = model.spans("nested", hidden)
        self.assertEqual(logits.shape, (3, 3, 3))
        alone = model.spans("nested", hidden[[0, 2]])
        np.testing.assert_allclose(alone[0, 1], logits[0, 2], rtol=1e-5, atol=1e-5)


def _tiny() -> quantize.Model:
    """One layer of width 24, two labels, random weights."""
    rng, width = np.random.default_rng(2), 24

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    state = {
        "encoder.tokens.weight": normal(8, width),
        "encoder.positions.weight": normal(16, width),
        "heads.nested.product": normal(3, 6, 6),
    }
    for name, rows, columns in (
        ("encoder.layers.0.qkv", 3 * width, width),
        ("encoder.layers.0.attended", width, width),
        ("encoder.layers.0.wide", 4 * width, width),
        ("encoder.layers.0.narrow", width, 4 * width),
        ("heads.kind.label", 2, width),
        ("heads.kind.known", 1, width),
        ("heads.parts.tag", 5, width),
        ("heads.nested.start", 6, width),
        ("heads.nested.end", 6, width),
        ("heads.nested.of_start", 3, 6),
        ("heads.nested.of_end", 3, 6),
    ):
        state[f"{name}.weight"] = normal(rows, columns)
        state[f"{name}.bias"] = normal(rows)
    del state["heads.nested.of_end.bias"]
    for name in ("norm_embedded", "layers.0.norm_attended", "layers.0.norm_out"):
        state[f"encoder.{name}.weight"] = normal(width)
        state[f"encoder.{name}.bias"] = normal(width)
    return quantize.model(state, tokens_max=16)


if __name__ == "__main__":
    unittest.main()
