//! The bytes of a file, in pages that copies share.

use std::sync::Arc;

pub(super) const PAGE: usize = 4096;
/// The unit in which a power cut divides a write.
pub(super) const SECTOR: usize = 512;

/// A page that was never written holds zeros and no memory.
type Page = Option<Arc<[u8; PAGE]>>;

/// Bytes of a file. Cloning is cheap.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    pages: Arc<Vec<Page>>,
    len: u64,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Sets the length alone; bytes beyond it stay where they are until [`Self::set_len`] cuts them.
    pub(super) fn declare_len(&mut self, len: u64) {
        self.len = len;
    }

    /// Cuts or extends; what lies beyond the end reads as zero when the file grows again.
    pub(super) fn set_len(&mut self, len: u64) {
        let pages = len.div_ceil(PAGE as u64) as usize;
        if self.pages.len() > pages {
            Arc::make_mut(&mut self.pages).truncate(pages);
        }
        let inside = (len % PAGE as u64) as usize;
        if inside != 0
            && let Some(Some(_)) = self.pages.get(pages - 1)
            && let Some(Some(page)) = Arc::make_mut(&mut self.pages).get_mut(pages - 1)
        {
            Arc::make_mut(page)[inside..].fill(0);
        }
        self.len = len;
    }

    /// Reads up to the end of the file.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> usize {
        let len = self.len.saturating_sub(offset).min(buf.len() as u64) as usize;
        self.copy_raw(&mut buf[..len], offset);
        len
    }

    /// Writes, extending the file if need be.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        self.write_raw(bytes, offset);
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    /// The sector's bytes, whatever the length of the file.
    pub(super) fn sector(&self, sector: u64) -> [u8; SECTOR] {
        let mut bytes = [0; SECTOR];
        self.copy_raw(&mut bytes, sector * SECTOR as u64);
        bytes
    }

    /// Replaces a sector's bytes, whatever the length of the file.
    pub(super) fn set_sector(&mut self, sector: u64, bytes: &[u8; SECTOR]) {
        self.write_raw(bytes, sector * SECTOR as u64);
    }

    /// Whether the page of this sector was ever written.
    pub(super) fn holds(&self, sector: u64) -> bool {
        let page = sector as usize / (PAGE / SECTOR);
        matches!(self.pages.get(page), Some(Some(_)))
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.copy_raw(&mut bytes, 0);
        bytes
    }

    fn copy_raw(&self, mut buf: &mut [u8], offset: u64) {
        let mut at = offset as usize;
        while !buf.is_empty() {
            let inside = at % PAGE;
            let part = (PAGE - inside).min(buf.len());
            let (now, rest) = buf.split_at_mut(part);
            match self.pages.get(at / PAGE) {
                Some(Some(page)) => now.copy_from_slice(&page[inside..inside + part]),
                _ => now.fill(0),
            }
            buf = rest;
            at += part;
        }
    }

    fn write_raw(&mut self, mut bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        let pages = Arc::make_mut(&mut self.pages);
        let mut at = offset as usize;
        let needed = (at + bytes.len()).div_ceil(PAGE);
        if pages.len() < needed {
            pages.resize(needed, None);
        }
        while !bytes.is_empty() {
            let inside = at % PAGE;
            let (now, rest) = bytes.split_at((PAGE - inside).min(bytes.len()));
            let page = &mut pages[at / PAGE];
            if page.is_some() || now.iter().any(|&byte| byte != 0) {
                let page = page.get_or_insert_with(|| Arc::new([0; PAGE]));
                Arc::make_mut(page)[inside..inside + now.len()].copy_from_slice(now);
            }
            at += now.len();
            bytes = rest;
        }
    }
}
