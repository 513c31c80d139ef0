//! Token labels of a Hugging Face model as our tags: outside, then begin and inside of each label.
//!
//! BIO (IOB2) labels are taken: `O`, `B-x`, `I-x`. Labels without an inside get one that never
//! wins. Other schemes are refused by name.

use super::error::{Result, refused};
use super::model::Head;

/// What never wins a softmax, and is still a number that adds up.
const NEVER: f32 = -1e4;

/// Labels, and which of the model's outputs each of our tags is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tags {
    pub(super) labels: Vec<String>,
    order: Vec<Option<usize>>,
}

impl Tags {
    /// Reads the scheme out of the model's own labels.
    pub(super) fn of(outputs: &[String]) -> Result<Tags> {
        let wrong = |what: String| {
            refused(
                format!("config.json: id2label {what}; token labels must be O, B-x and I-x"),
                "train the token head with BIO (IOB2) labels and set id2label before saving",
            )
        };
        let find = |name: &str| outputs.iter().position(|output| output == name);
        let outside =
            find("O").ok_or_else(|| wrong(format!("has no \"O\" among {}", outputs.join(", "))))?;
        let mut labels = Vec::new();
        let mut order = vec![Some(outside)];
        let split = |output: &str| {
            output.split_once(['-', '_']).map(|(tag, label)| (tag.to_owned(), label.to_owned()))
        };
        for output in outputs.iter().filter(|output| *output != "O") {
            let (tag, label) = split(output)
                .ok_or_else(|| wrong(format!("has {output:?}, which has neither B- nor I-")))?;
            match tag.as_str() {
                "B" => labels.push(label),
                "I" => {}
                "E" | "S" | "L" | "U" => {
                    return Err(wrong(format!(
                        "has {output:?}: the BILOU and IOBES schemes are not supported"
                    )));
                }
                _ => return Err(wrong(format!("has {output:?}, which has neither B- nor I-"))),
            }
        }
        let tagged = |tag: &str, label: &str| {
            find(&format!("{tag}-{label}")).or_else(|| find(&format!("{tag}_{label}")))
        };
        for label in &labels {
            order.extend([tagged("B", label), tagged("I", label)]);
        }
        for output in outputs {
            if let Some((tag, label)) = split(output)
                && tag == "I"
                && !labels.contains(&label)
            {
                return Err(wrong(format!(
                    "has {output:?} without B-{label}: the IO and IOB1 schemes are not supported"
                )));
            }
        }
        Ok(Tags { labels, order })
    }

    /// Puts the outputs of a head into the order of our tags.
    pub(super) fn arrange(&self, head: &mut Head) {
        let Some(last) = head.layers.last_mut() else { return };
        let row = |row: &[f32], absent: f32| -> Vec<f32> {
            self.order.iter().map(|output| output.map_or(absent, |output| row[output])).collect()
        };
        last.weight =
            last.weight.chunks_exact(last.outputs).flat_map(|old| row(old, 0.0)).collect();
        last.bias = row(&last.bias, NEVER);
        last.outputs = self.order.len();
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Dense, Pool};
    use super::*;

    fn tags(outputs: &[&str]) -> Result<Tags> {
        Tags::of(&outputs.iter().map(|output| (*output).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn outputs_are_put_in_our_order() {
        let tags = tags(&["I-B-ITEM", "B-LOC", "O", "B-B-ITEM"]).ok().unwrap();
        assert_eq!(tags.labels, ["LOC", "B-ITEM"]);
        let dense = Dense {
            inputs: 1,
            outputs: 4,
            weight: vec![1.0, 2.0, 3.0, 4.0],
            bias: vec![0.1, 0.2, 0.3, 0.4],
            activation: None,
            norm: None,
        };
        let mut head = Head { pool: Pool::Each, layers: vec![dense] };
        tags.arrange(&mut head);
        assert_eq!(head.layers[0].weight, [3.0, 2.0, 0.0, 4.0, 1.0]);
        assert_eq!(head.layers[0].bias, [0.3, 0.2, NEVER, 0.4, 0.1]);
        assert_eq!(head.layers[0].outputs, 5);
    }

    #[test]
    fn other_schemes_are_refused_by_name() {
        for (outputs, reason) in [
            (&["O", "B-X", "I-X", "L-X", "U-X"][..], "BILOU"),
            (&["O", "I-X"], "IOB1"),
            (&["LABEL_0", "LABEL_1"], "has no \"O\""),
            (&["O", "Item"], "neither B- nor I-"),
        ] {
            let error = tags(outputs).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
