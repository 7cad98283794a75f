//! The methods that list samples, newest first, filtered and page by page.

use jsonrpsee::types::Params;
use serde_json::{Value, json};

use super::State;
use super::json as as_json;
use super::params::{Answer, Fields, write_cursor};
use super::rollbacks;
use crate::model::{CacheOutcome, FindingKind, TransactionKind, TransactionStatus, UnixMicros};
use crate::store::{
    BlockFilter, CallFilter, FindingFilter, Page, RequestFilter, StateFilter, Store,
    TransactionFilter,
};

pub async fn calls(params: &Params<'_>, state: &State) -> Answer {
    let mut fields = Fields::of(params)?;
    let range = fields.range(UnixMicros::now())?;
    let paging = fields.paging()?;
    let filter = CallFilter {
        method: fields.text("method")?,
        contract: fields.text("contract")?,
        function: fields.text("function")?,
        failed: fields.truth("failed")?,
        at_least: fields.milliseconds("at_least_ms")?,
        transaction: fields.parsed("transaction", "a transaction's hash", "\"0x5f…\"")?,
        trace_id: fields.trace_id("trace_id")?,
        reason: fields.text("reason")?,
    };
    fields.finish()?;
    let page = state.archive.read(move |store| store.calls(range, &filter, paging)).await?;
    Ok(listed("calls", &page, as_json::call))
}

pub async fn requests(params: &Params<'_>, state: &State) -> Answer {
    let outcomes = CacheOutcome::ALL.map(|outcome| (outcome.as_str(), outcome));
    let mut fields = Fields::of(params)?;
    let range = fields.range(UnixMicros::now())?;
    let paging = fields.paging()?;
    let filter = RequestFilter {
        method: fields.text("method")?,
        route: fields.text("route")?,
        status_at_least: fields
            .number("status_at_least", 0..=999, "500")?
            .and_then(|status| u16::try_from(status).ok()),
        cache: fields.choice("cache", &outcomes)?,
        at_least: fields.milliseconds("at_least_ms")?,
        trace_id: fields.trace_id("trace_id")?,
    };
    fields.finish()?;
    let page = state.archive.read(move |store| store.requests(range, &filter, paging)).await?;
    Ok(listed("requests", &page, as_json::request))
}

pub async fn transactions(params: &Params<'_>, state: &State) -> Answer {
    let statuses = TransactionStatus::ALL.map(|status| (status.as_str(), status));
    let kinds = TransactionKind::ALL.map(|kind| (kind.as_str(), kind));
    let mut fields = Fields::of(params)?;
    let range = fields.range(UnixMicros::now())?;
    let paging = fields.paging()?;
    let filter = TransactionFilter {
        hash: fields.parsed("hash", "a transaction's hash", "\"0x5f…\"")?,
        contract: fields.text("contract")?,
        function: fields.text("function")?,
        status: fields.choice("status", &statuses)?,
        from: fields.parsed("from", "an address", "\"0xf39F…\"")?,
        trace_id: fields.trace_id("trace_id")?,
        kind: fields.choice("kind", &kinds)?,
        reason: fields.text("reason")?,
        block: fields.number("block", 0..=u64::MAX, "42")?,
        through_relay: fields.truth("through_relay")?,
        min_gas: fields.number("min_gas", 0..=u64::MAX, "100000")?,
    };
    fields.finish()?;
    let read = move |store: &Store| {
        let mut page = store.transactions(range, &filter, paging)?;
        rollbacks::mark(store, &mut page.items)?;
        Ok(page)
    };
    let page = state.archive.read(read).await?;
    let money = state.money.as_ref();
    Ok(listed("transactions", &page, |transaction| as_json::transaction(transaction, money)))
}

pub async fn blocks(params: &Params<'_>, state: &State) -> Answer {
    let mut fields = Fields::of(params)?;
    let range = fields.range(UnixMicros::now())?;
    let paging = fields.paging()?;
    let filter = BlockFilter {
        with_transactions: fields.truth("with_transactions")?,
        min_fullness: fields.share("min_fullness")?,
    };
    fields.finish()?;
    let page = state.archive.read(move |store| store.blocks(range, &filter, paging)).await?;
    Ok(listed("blocks", &page, as_json::block))
}

pub async fn states(params: &Params<'_>, state: &State) -> Answer {
    let mut fields = Fields::of(params)?;
    let range = fields.range(UnixMicros::now())?;
    let paging = fields.paging()?;
    let filter = StateFilter {
        hash: fields.parsed("hash", "a transaction's hash", "\"0x5f…\"")?,
        contract: fields.text("contract")?,
        function: fields.text("function")?,
    };
    fields.finish()?;
    let page = state.archive.read(move |store| store.states(range, &filter, paging)).await?;
    Ok(listed("states", &page, as_json::state))
}

pub async fn rolled_back(params: &Params<'_>, state: &State) -> Answer {
    let mut fields = Fields::of(params)?;
    let range = fields.range(UnixMicros::now())?;
    let paging = fields.paging()?;
    fields.finish()?;
    let page = state.archive.read(move |store| store.rollbacks(range, paging)).await?;
    Ok(listed("rollbacks", &page, as_json::rollback))
}

pub async fn findings(params: &Params<'_>, state: &State) -> Answer {
    let kinds = FindingKind::ALL.map(|kind| (kind.as_str(), kind));
    let mut fields = Fields::of(params)?;
    let range = fields.range(UnixMicros::now())?;
    let paging = fields.paging()?;
    let filter = FindingFilter { kind: fields.choice("kind", &kinds)? };
    fields.finish()?;
    let page = state.archive.read(move |store| store.findings(range, &filter, paging)).await?;
    Ok(listed("findings", &page, as_json::finding))
}

fn listed<T>(name: &str, page: &Page<T>, each: impl Fn(&T) -> Value) -> Value {
    let items: Vec<_> = page.items.iter().map(each).collect();
    json!({ name: items, "next": page.next.map(write_cursor) })
}
