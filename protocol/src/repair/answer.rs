//! The answerer's side of comparing.

use super::{Claim, FEW_ITEMS, Inventory, Item, MAX_ITEMS, Page, Part, Range, SPLIT, Sum, Verdict};

/// Compares what others claim to hold with what is held here: one verdict for each claim, and no
/// more than [`MAX_ITEMS`] items in all of them. The claims were checked with
/// [`RepairAsk::holds`](super::RepairAsk::holds), so all of them read the inventory twice at most.
///
/// # Errors
/// The inventory's own.
pub fn compare<I: Inventory>(inventory: &I, claims: &[Claim]) -> Result<Vec<Verdict>, I::Error> {
    let mut left = MAX_ITEMS;
    let mut verdicts = Vec::with_capacity(claims.len());
    for (n, claim) in claims.iter().enumerate() {
        if n > 0 && (left as u64) < FEW_ITEMS {
            verdicts.push(Verdict::Later);
            continue;
        }
        let verdict = verdict(inventory, claim, left)?;
        if let Verdict::Items(page) = &verdict {
            left -= page.items.len();
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

fn verdict<I: Inventory>(inventory: &I, claim: &Claim, most: usize) -> Result<Verdict, I::Error> {
    let Claim { range, fingerprint } = *claim;
    if fingerprint.count <= FEW_ITEMS {
        // Nothing beyond the page has to be read for this.
        let mut items = inventory.items(range, most + 1)?;
        let more = items.len() > most;
        if !more && Sum::of(&items).fingerprint() == fingerprint {
            return Ok(Verdict::Same);
        }
        items.truncate(most);
        return Ok(Verdict::Items(Page { items, more }));
    }
    let sum = inventory.sum(range)?;
    if sum.fingerprint() == fingerprint {
        return Ok(Verdict::Same);
    }
    if sum.count() > FEW_ITEMS {
        let parts = split(inventory, range, sum.count())?;
        // The inventory may have shrunk meanwhile.
        if parts.len() > 1 {
            return Ok(Verdict::Parts(parts));
        }
    }
    let mut items = inventory.items(range, most + 1)?;
    let more = items.len() > most;
    items.truncate(most);
    Ok(Verdict::Items(Page { items, more }))
}

/// The range in parts of as many items each.
fn split<I: Inventory>(inventory: &I, range: Range, count: u64) -> Result<Vec<Part>, I::Error> {
    let size = count.div_ceil(SPLIT as u64);
    let mut parts = Vec::with_capacity(SPLIT);
    let mut sum = Sum::default();
    let mut from = range.from;
    loop {
        let page: Vec<Item> = inventory.items(Range { from, to: range.to }, MAX_ITEMS)?;
        for item in &page {
            if sum.count() >= size && parts.len() + 1 < SPLIT {
                parts.push(Part { to: *item, fingerprint: sum.fingerprint() });
                sum = Sum::default();
            }
            sum.add(item);
        }
        match page.last() {
            Some(last) if page.len() == MAX_ITEMS => from = last.next(),
            _ => break,
        }
    }
    parts.push(Part { to: range.to, fingerprint: sum.fingerprint() });
    Ok(parts)
}
