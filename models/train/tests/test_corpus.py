"""Reading the data sets, on files made here; and work orders around observations."""

import json
import random
import tempfile
import unittest
from pathlib import Path

from landfall_train import bio, corpus, labels
from landfall_train.orders import OrderBook, without_edge_masks

ITEM = labels.FIELDS.index("Item")
OBSERVATION = labels.FIELDS.index("Observation")


class Reading(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.data = Path(directory.name)

    def write(self, path: str, text: str) -> None:
        file = self.data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def test_observations_split_at_the_last_comma(self) -> None:
        self.write("failure_modes/train.csv", "Hot, smoking,Overheating\n")
        [row] = corpus.failure_modes(self.data, "train")
        self.assertEqual(row.text, "hot, smoking")
        self.assertEqual(labels.FAILURE_MODES[row.label], "Overheating")

    def test_an_unknown_label_is_named_with_its_line(self) -> None:
        self.write("failure_modes/train.csv", "hot,Overheating\nodd,Enchanted\n")
        with self.assertRaisesRegex(corpus.DataError, r"train\.csv:2.*Enchanted"):
            corpus.failure_modes(self.data, "train")

    def test_a_missing_file_says_how_to_get_it(self) -> None:
        with self.assertRaisesRegex(corpus.DataError, "LANDFALL_DATA"):
            corpus.work_orders(self.data, "train")

    def test_orders_are_lower_cased_and_doubtful_ones_dropped(self) -> None:
        mentions = [
            {"start": 0, "end": 1, "labels": ["Item"]},
            {"start": 1, "end": 2, "labels": ["Typo", "Observation"]},
        ]
        rows = [
            {"annotator_agreement": 0.5, "tokens": ["Pump", "LEEKS"], "mentions": mentions},
            {"annotator_agreement": 0.49, "tokens": ["x"], "mentions": []},
        ]
        self.write("work_order_ner/train.jsonl", "\n".join(map(json.dumps, rows)))
        [order] = corpus.work_orders(self.data, "train")
        self.assertEqual(order.text, "pump leeks")
        self.assertEqual(bio.decode(order.tags), [(0, 1, ITEM), (1, 2, OBSERVATION)])

    def test_excavator_orders_keep_what_means_one_mode(self) -> None:
        self.write(
            "work_orders/work_orders.csv",
            "OriginalShorttext,FM\n"
            "BOOM  CYL LEAKING,Leak\n"
            "crack in boom,Structural Integrity\n"
            "mirror broken,Structural Integrity\n"
            "loose bolt,Missing / Loose\n",
        )
        rows = corpus.excavator_orders(self.data)
        self.assertEqual(
            [(row.text, labels.FAILURE_MODES[row.label]) for row in rows],
            [("boom cyl leaking", "Leaking"), ("crack in boom", "Structural deficiency")],
        )

    def test_spellings_leave_out_masks_and_numbers(self) -> None:
        self.write("maintnorm/train.norm", "REPL\treplace\nAB12\t<id>\nx4\tby\n\npump\tpump\n")
        self.assertEqual(corpus.spellings(self.data), {"replace": ["repl"]})


    def test_masks_label_the_typed_words(self) -> None:
        self.write("maintnorm/val.norm", "AB12\t<id>\nREPL\treplace\n500HR\t<num> hour\n\nok\tok\n")
        first, second = corpus.masked_orders(self.data, "val")
        self.assertEqual(first.text, "AB12 REPL 500HR")
        number = labels.REDACT.index("number")
        self.assertEqual(bio.decode(first.tags), [(0, 1, 0), (2, 3, number)])
        self.assertEqual((second.normal, second.tags), (("ok",), (0,)))

    def test_nested_orders_keep_the_top_class_of_every_entity(self) -> None:
        entities = [
            {"start": 0, "end": 2, "type": "PhysicalObject/Sensing"},
            {"start": 1, "end": 2, "type": "PhysicalObject"},
            {"start": 2, "end": 3, "type": "State/Undesirable"},
        ]
        row = {"tokens": ["air", "filter", "torn"], "entities": entities}
        self.write("maintie/train.jsonl", json.dumps(row))
        [order] = corpus.nested_orders(self.data, "train")
        kind, state = labels.MAINTIE.index("PhysicalObject"), labels.MAINTIE.index("State")
        self.assertEqual(order.spans, ((0, 2, kind), (1, 2, kind), (2, 3, state)))

    def test_requests_carry_the_index_of_their_intent(self) -> None:
        rows = [["hi", "greeting"], ["bye", "goodbye"]]
        for split in ("train", "val"):
            self.write(f"clinc150/{split}.json", json.dumps(rows))
        self.assertEqual(corpus.intents(self.data), ("goodbye", "greeting"))
        self.assertEqual([row.label for row in corpus.requests(self.data, "val")], [1, 0])


class Orders(unittest.TestCase):
    def setUp(self) -> None:
        self.book = OrderBook(
            [
                order("pump leaking", [(0, 1, "Item"), (1, 2, "Observation")]),
                order("left hose", [(0, 1, "Location"), (1, 2, "Item")]),
                order("replace hose", [(0, 1, "Activity"), (1, 2, "Item")]),
                order("hot and loud", [(0, 1, "Observation"), (2, 3, "Observation")]),
            ]
        )

    def test_real_orders_have_that_observation_only(self) -> None:
        self.assertEqual(list(self.book.real("leaking")), ["pump leaking"])
        self.assertEqual(list(self.book.real("hot")), [])

    def test_orders_without_observation(self) -> None:
        self.assertEqual(self.book.without_observation, ["left hose", "replace hose"])

    def test_invented_orders_hold_the_observation(self) -> None:
        rng = random.Random(4)
        for _ in range(50):
            self.assertIn("weeping badly", self.book.whole("weeping badly", rng))


class EdgeMasks(unittest.TestCase):
    def test_identifiers_in_no_span_go_and_spans_move(self) -> None:
        row = corpus.Nested(("<id>", "pump", "leak", "<id>"), ((1, 2, 0), (2, 3, 4)))
        bare = without_edge_masks(row)
        self.assertEqual(bare, corpus.Nested(("pump", "leak"), ((0, 1, 0), (1, 2, 4))))

    def test_those_in_a_span_or_inside_stay(self) -> None:
        row = corpus.Nested(("<id>", "<id>", "to", "<id>", "pump"), ((1, 2, 0), (4, 5, 0)))
        self.assertEqual(without_edge_masks(row).words, ("<id>", "to", "<id>", "pump"))

    def test_a_text_never_becomes_empty(self) -> None:
        self.assertEqual(without_edge_masks(corpus.Nested(("<id>", "<id>"), ())).words, ("<id>",))


def order(text: str, mentions: list[tuple[int, int, str]]) -> corpus.Order:
    """A work order with named spans."""
    words = tuple(text.split())
    spans = [(start, end, labels.FIELDS.index(label)) for start, end, label in mentions]
    return corpus.Order(words, tuple(bio.encode(len(words), spans)))


if __name__ == "__main__":
    unittest.main()
