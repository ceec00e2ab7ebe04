//! DeadLetters: what the dead-letter topic holds, put back or dropped.

use super::requests::{Call, Told};
use crate::broker::dead_letter::Settle;
use crate::frame::{DeadLetters, LetterAction};
use crate::json;

/// Serves DeadLetters.
pub(super) async fn serve(call: Call, letters: DeadLetters) -> Told {
    let DeadLetters { action, first, last, .. } = letters;
    let access = &call.access;
    let told = match action {
        LetterAction::List => access.letters(first, last).await.map(|list| json::to_string(&list)),
        LetterAction::Retry => {
            access.settle_letters(first, last, Settle::Retry).await.map(|done| json::to_string(&done))
        }
        LetterAction::Drop => access.settle_letters(first, last, Settle::Drop).await.map(|done| json::to_string(&done)),
    };
    match told {
        Ok(text) => call.text(&text).await.map(Ok),
        Err(error) => Ok(Err(error.into())),
    }
}
