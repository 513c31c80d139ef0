"""How annotations map to the labels of the tasks."""

import unittest

from landfall_train import labels


class Fields(unittest.TestCase):
    def test_known_mappings(self) -> None:
        cases = {
            ("Item",): "Item",
            ("Observation", "Observation/Observed_state"): "Observation",
            ("Observation/Qualitative",): "Observation",
            ("Observed_state",): "Observation",
            ("Action/Malfunction",): "Observation",
            ("Location/Absolute",): "Location",
            ("Consumable_or_commodity/Oil",): "Consumable",
            ("Attribute/Physical",): "Attribute",
            ("Time/Date",): "Time",
            ("Identifier/Make",): "Item",
        }
        for given, expected in cases.items():
            self.assertEqual(labels.field_of(given), expected, given)

    def test_remarks_are_passed_over(self) -> None:
        self.assertEqual(labels.field_of(["Typo", "Unsure", "Activity"]), "Activity")

    def test_what_the_task_does_not_have_is_none(self) -> None:
        for given in (["Typo"], ["Code"], ["Negation"], ["Event"], ["Identifier/Item_ID"], []):
            self.assertIsNone(labels.field_of(given), given)

    def test_label_lists_are_sorted_and_distinct(self) -> None:
        for names in (labels.FIELDS, labels.FAILURE_MODES):
            self.assertEqual(list(names), sorted(set(names)))
        self.assertEqual((len(labels.FIELDS), len(labels.FAILURE_MODES)), (10, 22))

    def test_machine_made_modes_are_modes(self) -> None:
        self.assertLessEqual(set(labels.EXCAVATOR_MODES.values()), set(labels.FAILURE_MODES))


if __name__ == "__main__":
    unittest.main()
