//! Buffers that frames are read and unpacked into, used again: fresh memory of the system costs a page fault for every 4 KiB, which was
//! a tenth of what a delivery takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::FRAME_BYTES;

/// Buffers at most that wait for their next use; those of a batch or two.
const KEPT: usize = 8;

/// A buffer for a frame with one very long event is not kept.
const LARGEST: usize = 2 * FRAME_BYTES;

/// Buffers that are not in use; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer in use; dropped, it goes back to the others.
#[derive(Debug)]
pub(super) struct Lent {
    bytes: Vec<u8>,
    /// So many of the bytes are its content.
    len: usize,
    home: Buffers,
}

impl Buffers {
    /// A buffer of `len` bytes, whatever they are.
    pub(super) fn lend(&self, len: usize) -> Lent {
        let mut bytes = self.lock().pop().unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Lent {
            bytes,
            len,
            home: self.clone(),
        }
    }

    /// Gives the memory of those that are not in use back to the system.
    pub(super) fn let_go(&self) {
        drop(std::mem::take(&mut *self.lock()));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // No statement leaves the list half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// Leaves the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl AsMut<[u8]> for Lent {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut kept = self.home.lock();
        if bytes.len() <= LARGEST && kept.len() < KEPT {
            kept.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_shows_its_own_length_and_goes_when_it_is_let_go() {
        let buffers = Buffers::default();
        let mut first = buffers.lend(100);
        first.as_mut().fill(7);
        let place = first.as_ref().as_ptr();
        drop(first);
        let mut again = buffers.lend(10);
        assert_eq!((again.as_ref().as_ptr(), again.as_ref().len()), (place, 10));
        again.truncate(3);
        assert_eq!((again.as_ref().len(), again.as_mut().len()), (3, 3));
        drop(again);
        buffers.let_go();
        assert_eq!(buffers.lend(200).as_ref(), [0; 200]);
    }

    #[test]
    fn few_are_kept_and_none_that_is_very_large() {
        let buffers = Buffers::default();
        drop(buffers.lend(LARGEST + 1));
        assert_eq!(buffers.lock().len(), 0);
        let lent: Vec<_> = (0..2 * KEPT).map(|_| buffers.lend(1)).collect();
        drop(lent);
        assert_eq!(buffers.lock().len(), KEPT);
    }
}
