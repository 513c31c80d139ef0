"""Calibration, familiarity and nested decoding. Needs NumPy; skipped without it."""

import unittest

try:
    import numpy as np

    from landfall_train import calibrate, familiarity, nested
except ImportError as error:
    raise unittest.SkipTest("NumPy is not installed") from error


class Calibration(unittest.TestCase):
    def test_the_temperature_of_overconfident_logits_is_found(self) -> None:
        rng = np.random.default_rng(1)
        logits = rng.normal(size=(4000, 5)) * 2.0
        chances = calibrate.probabilities(logits, 1.0)
        truth = np.array([rng.choice(5, p=row) for row in chances])
        self.assertAlmostEqual(calibrate.temperature(logits * 3.0, truth), 3.0, delta=0.25)

    def test_reliability_of_honest_confidences(self) -> None:
        rng = np.random.default_rng(2)
        confidence = rng.uniform(0.2, 1.0, 20000)
        right = rng.uniform(size=20000) < confidence
        made = calibrate.reliability(confidence, right)
        self.assertLess(made["reliability"]["ece"], 0.02)
        self.assertEqual(sum(bin[2] for bin in made["reliability"]["bins"]), 20000)
        curve = made["curve"]
        self.assertEqual(curve[-1], [1.0, round(1 - right.mean(), 5)])
        self.assertLess(curve[5][1], curve[-1][1])


class Familiarity(unittest.TestCase):
    def test_auroc_counts_ties_half(self) -> None:
        known, foreign = np.array([1.0, 2.0]), np.array([0.0, 1.0])
        self.assertEqual(familiarity.auroc(known, foreign), 0.875)

    def test_a_label_without_text_has_the_mean_of_all(self) -> None:
        pooled = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
        found = familiarity.centroids(pooled, np.array([0, 0]), 2)
        np.testing.assert_allclose(found[0], found[1])
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, rtol=1e-6)


class Nested(unittest.TestCase):
    def test_candidates_are_short_and_in_order(self) -> None:
        self.assertEqual(nested.candidates([1, 2, None, 4], 2), [(0, 0), (0, 1), (1, 1), (3, 3)])

    def test_of_two_that_cut_each_other_the_surer_stays(self) -> None:
        pairs = [(0, 1), (1, 2), (1, 1)]
        chances = np.array([[0.1, 0.9], [0.2, 0.8], [0.4, 0.6]])
        self.assertEqual(nested.decode(pairs, chances), [(0, 2, 0), (1, 2, 0)])


if __name__ == "__main__":
    unittest.main()
