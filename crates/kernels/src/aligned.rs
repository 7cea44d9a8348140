//! Scratch memory on the borders of cache lines: a vector that crosses one is read twice.

/// Numbers of 4 bytes in one cache line.
const LINE: usize = 16;

/// Numbers of 4 bytes that begin on a 64-byte border. They stay until more are asked for.
#[derive(Default)]
pub struct Aligned<T> {
    data: Vec<T>,
}

impl<T: Copy + Default> Aligned<T> {
    /// Numbers that are there.
    pub fn len(&self) -> usize {
        self.data.len().saturating_sub(LINE)
    }

    /// `len` numbers with unspecified content.
    pub fn take(&mut self, len: usize) -> &mut [T] {
        if self.data.len() < len + LINE {
            // A fresh zeroed allocation is cheaper than growing, which would copy.
            self.data = Vec::new();
            self.data = vec![T::default(); len.next_multiple_of(1024) + LINE];
        }
        let start = self.start();
        &mut self.data[start..start + len]
    }

    /// The first `len` numbers of those that are there.
    pub fn first(&self, len: usize) -> &[T] {
        &self.data[self.start()..][..len]
    }

    fn start(&self) -> usize {
        self.data.as_ptr().align_offset(LINE * size_of::<T>()).min(LINE)
    }
}
