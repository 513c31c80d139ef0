"""Metrics against counts done by hand."""

import unittest

from landfall_train import metrics


class Metrics(unittest.TestCase):
    def test_accuracy(self) -> None:
        self.assertEqual(metrics.accuracy([0, 1, 2, 2], [0, 1, 2, 0]), 0.75)

    def test_weighted_f1(self) -> None:
        # Label 0: one of one, answered twice: 2/3. Label 1: one of two, answered once: 2/3.
        self.assertAlmostEqual(metrics.weighted_f1([0, 1, 1], [0, 1, 0]), 2 / 3)
        # An answer that never occurs costs where it was given, and has no weight of its own.
        self.assertAlmostEqual(metrics.weighted_f1([0, 0], [0, 5]), 2 / 3)

    def test_micro_f1(self) -> None:
        truth = [{(0, 1, "Item")}, {(0, 2, "Item"), (3, 4, "Time")}]
        self.assertEqual(metrics.micro_f1(truth, truth), 1.0)
        self.assertAlmostEqual(metrics.micro_f1(truth, [{(0, 1, "Item")}, set()]), 0.5)
        self.assertEqual(metrics.micro_f1([set()], [set()]), 1.0)

    def test_wilson_holds_the_share_and_stays_within_bounds(self) -> None:
        for right, count in ((0, 5), (5, 5), (45, 62)):
            low, high = metrics.wilson(right, count)
            self.assertLessEqual(low, 1e-9 + right / count)
            self.assertGreaterEqual(high, -1e-9 + right / count)
            self.assertGreaterEqual(low, -1e-9)
            self.assertLessEqual(high, 1 + 1e-9)


if __name__ == "__main__":
    unittest.main()
