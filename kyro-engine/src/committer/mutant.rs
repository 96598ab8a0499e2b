//! Seeded faults that take more than an expression: what `cargo xtask mutants` builds, to see a test fail.

#[cfg(mutant = "publish_before_durable")]
impl super::Committer {
    /// Shows a group that no sync has covered yet.
    pub(super) fn publish_unsynced(&self) {
        let delta = std::sync::Arc::clone(&self.shared.views.load().delta);
        for pending in &self.group.pending {
            delta.apply(pending.first_offset, pending.payload.clone()).ok();
            self.shared.visible.publish(pending.first_offset + u64::from(pending.operations));
        }
    }
}

/// Logs a batch as two frames.
#[cfg(mutant = "split_batch")]
pub(super) fn append_in_two(
    wal: &mut kyro_wal::Wal,
    operations: u32,
    payload: &bytes::Bytes,
) -> Result<u64, kyro_wal::Error> {
    let head = crate::batch::first_operation(payload);
    if operations < 2 {
        return wal.append(operations, payload);
    }
    let tail = [&payload[..1], &payload[head..]].concat();
    let first = wal.append(1, &payload[..head])?;
    wal.append(operations - 1, &tail)?;
    Ok(first)
}
