//! One judgement: rules, the task's model, and the model that masks, in one pass where they can be.

use super::masking::Masking;
use super::models::{Backing, Model};
use super::pool::{Ask, Busy, Ran, Seen};
use super::{Inner, ModelFailure, Served, Task};
use landfall_agent_core::judgement::Judgement;
use landfall_agent_core::redact::ModelMasks;
use landfall_agent_core::request::{ModelView, Request};
use landfall_agent_core::rules::Rules;
use landfall_agent_core::task::Before;
use landfall_wire::record::{Event, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Inner {
    /// Decides on a request, and finds what is to be masked of it if its text may leave.
    pub(super) async fn judge(
        &self,
        served: &Served,
        task: &Task,
        request: &Request,
    ) -> Result<(Judgement, ModelMasks), Busy> {
        let masking = &served.masking;
        let start = std::time::Instant::now();
        let hub = self.rules.used();
        let none = Rules::default();
        let hub = hub.get(&request.task).unwrap_or(&none);
        let before = task.policy.before_model(request, hub);
        self.metrics.stages.rules.record(start.elapsed());
        let leaves = task.policy.lets_text_leave(request, &before);
        match (before, &task.backing) {
            (Before::Decided(judgement), _) => {
                Ok((judgement, self.masks_alone(masking, request, leaves).await?))
            }
            (Before::AskModel, Backing::Missing(why)) => {
                let masks = self.masks_alone(masking, request, leaves).await?;
                Ok((self.decided(task, request, Err(why.clone())), masks))
            }
            (Before::AskModel, Backing::Model(model)) => {
                self.ask((task, model), masking, request, leaves).await
            }
        }
    }

    async fn ask(
        &self,
        (task, model): (&Task, &Model),
        masking: &Masking,
        request: &Request,
        leaves: bool,
    ) -> Result<(Judgement, ModelMasks), Busy> {
        // One pass of the encoder serves both, if both have the same.
        let together = match masking {
            Masking::Model(masker) if leaves && Arc::ptr_eq(&masker.engine, &model.engine) => {
                Some(masker.clone())
            }
            Masking::Model(_) | Masking::Off | Masking::Missing(_) => None,
        };
        let ask = Ask {
            engine: Arc::clone(&model.engine),
            task: Some(model.task.clone()),
            masker: together.clone(),
            text: request.text.clone(),
        };
        let seen = self.run(ask).await?;
        let masks = match (&seen, &together) {
            (Ok(Seen { masks: Some(spans), .. }), Some(masker)) => {
                self.masking_trouble.store(false, Ordering::Relaxed);
                masker.masks(spans)
            }
            (Ok(_), Some(_)) => self.unmasked("it gave nothing").await,
            (Err(error), Some(_)) => self.unmasked(error).await,
            (_, None) => self.masks_alone(masking, request, leaves).await?,
        };
        let view = seen.and_then(|Seen { view, read, .. }| {
            Ok((view.ok_or_else(|| "no view".to_owned())?, read))
        });
        if let Err(error) = &view {
            tracing::warn!(task = %request.task, error, "the model failed; escalating");
            let failure = ModelFailure { package: model.digest, detail: error.clone() };
            self.failure.send_replace(Some(failure));
        }
        let view = view.map(|(view, read)| (model.view(view), read));
        Ok((self.decided(task, request, view), masks))
    }

    fn decided(
        &self,
        task: &Task,
        request: &Request,
        view: Result<(ModelView, landfall_models::Read), String>,
    ) -> Judgement {
        // Without randomness nothing is drawn for an audit; the decision itself stands.
        let draw = getrandom::u32().unwrap_or(u32::MAX);
        let read = view.as_ref().ok().map(|(_, read)| recorded(read));
        let view = view.map(|(view, _)| view);
        Judgement { read, ..task.policy.after_model(request, view, draw) }
    }

    /// What the model that masks finds, in a pass of its own.
    async fn masks_alone(
        &self,
        masking: &Masking,
        request: &Request,
        leaves: bool,
    ) -> Result<ModelMasks, Busy> {
        if !leaves {
            return Ok(ModelMasks::Off);
        }
        let masker = match masking {
            Masking::Off => return Ok(ModelMasks::Off),
            Masking::Missing(why) => return Ok(self.unmasked(why).await),
            Masking::Model(masker) => masker,
        };
        let ask = Ask {
            engine: Arc::clone(&masker.engine),
            task: None,
            masker: Some(masker.clone()),
            text: request.text.clone(),
        };
        match self.run(ask).await? {
            Ok(Seen { masks: Some(spans), .. }) => {
                self.masking_trouble.store(false, Ordering::Relaxed);
                Ok(masker.masks(&spans))
            }
            Ok(Seen { masks: None, .. }) => Ok(self.unmasked("it gave nothing").await),
            Err(error) => Ok(self.unmasked(&error).await),
        }
    }

    async fn run(&self, ask: Ask) -> Result<Result<Seen, String>, Busy> {
        let Ran { seen, queued, ran } = self.pool.run(ask).await?;
        self.metrics.stages.queue.record(queued);
        self.metrics.stages.model.record(ran);
        Ok(seen)
    }

    /// The model that masks could not be asked. The hub is told when that begins, not of each
    /// text: the records say it of each.
    async fn unmasked(&self, why: &str) -> ModelMasks {
        if !self.masking_trouble.swap(true, Ordering::Relaxed) {
            tracing::error!(why, "the model that masks does not work; patterns mask alone");
            let detail =
                format!("what leaves is masked by patterns alone: the model that masks: {why}");
            let event = Event::Trouble { at_ms: self.clock.now_ms(), detail };
            if let Err(error) = self.store.event(event).await {
                tracing::error!(%error, "the hub cannot be told that patterns mask alone");
            }
        }
        ModelMasks::Unavailable
    }
}

/// As the record has it.
pub(super) fn recorded(read: &landfall_models::Read) -> Read {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Read {
        words: count(read.words),
        words_blank: count(read.words_blank),
        pieces: count(read.pieces),
        windows: count(read.windows),
    }
}
