//! Rules of access: looked at and changed.

use super::errors::of_commit;
use super::requests::{Call, Failure, Told};
use crate::broker::AdminError;
use crate::broker::rights::Rule;
use crate::broker::rights::report::{FilterReport, RuleReport};
use crate::frame::{ErrorCode, RuleAction, Rules};
use crate::json;

/// Serves Rules.
pub(super) fn serve(call: Call, rules: &Rules<'_>) -> impl Future<Output = Told> + use<> {
    let (action, text) = (rules.action, rules.text.to_owned());
    async move {
        let done = match action {
            RuleAction::List => list(&call, &text),
            RuleAction::Add => add(&call, &text).await,
            RuleAction::Remove => remove(&call, &text).await,
        };
        match done {
            Ok(rules) => call.text(&json(&rules)).await.map(Ok),
            Err(failure) => Ok(Err(failure)),
        }
    }
}

fn list(call: &Call, text: &str) -> Result<Vec<Rule>, Failure> {
    let filter: FilterReport = read(text)?;
    Ok(call.access.rules(&filter.filter().map_err(invalid)?)?)
}

/// None, if one is wrong; else as many as there is room for.
async fn add(call: &Call, text: &str) -> Result<Vec<Rule>, Failure> {
    let reports: Vec<RuleReport> = read(text)?;
    let rules = reports.iter().map(RuleReport::rule).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    let outcomes = call.access.add_rules(rules.clone()).await?;
    outcomes.into_iter().collect::<Result<(), _>>().map_err(|error| Failure::new(ErrorCode::Overloaded, error))?;
    Ok(rules)
}

async fn remove(call: &Call, text: &str) -> Result<Vec<Rule>, Failure> {
    let filter: FilterReport = read(text)?;
    let removed = call.access.remove_rules(vec![filter.filter().map_err(invalid)?]).await?;
    Ok(removed.into_iter().flatten().collect())
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Denied(denied) => denied.into(),
            AdminError::Store(error) => Self::new(of_commit(&error), error),
            AdminError::Failed(text) => Self::new(ErrorCode::StoreFailed, text),
        }
    }
}

fn invalid(text: String) -> Failure {
    Failure::new(ErrorCode::InvalidArgument, text)
}

fn read<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    json::from_str(text).map_err(|error| invalid(format!("the rules or the filter can't be read: {error}")))
}

fn json(rules: &[Rule]) -> String {
    let reports: Vec<RuleReport> = rules.iter().map(RuleReport::of).collect();
    json::to_string(&reports)
}
