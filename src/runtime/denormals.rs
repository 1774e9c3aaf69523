//! Flushing denormal numbers to zero while kernels run: they are up to a hundred times slower and carry no
//! information in a network.

/// Flushes denormals on this thread until it is dropped.
pub struct FlushDenormals {
    saved: u64,
}

#[cfg(target_arch = "x86_64")]
mod control {
    use std::arch::asm;

    /// Flush to zero, denormals are zero (Intel SDM volume 1, section 10.2.3).
    pub const FLUSH: u64 = 1 << 15 | 1 << 6;

    pub fn read() -> u64 {
        let mut mxcsr = 0u32;
        // SAFETY: stores the 32-bit MXCSR to a live local.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut mxcsr, options(nostack)) };
        mxcsr.into()
    }

    pub fn write(value: u64) {
        let mxcsr = value as u32;
        // SAFETY: the value is one that `read` gave, with defined control bits added. Rust code that runs meanwhile on
        // this thread is that of the portable engine and of the thread pool, which do not depend on denormals.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &mxcsr, options(nostack)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod control {
    use std::arch::asm;

    /// FPCR.FZ (Arm Architecture Reference Manual, section C5.2.8).
    pub const FLUSH: u64 = 1 << 24;

    pub fn read() -> u64 {
        let value: u64;
        // SAFETY: reads a register that user code may read.
        unsafe { asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack)) };
        value
    }

    pub fn write(value: u64) {
        // SAFETY: as on x86-64.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nomem, nostack)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod control {
    pub const FLUSH: u64 = 0;

    pub fn read() -> u64 {
        0
    }

    pub fn write(_value: u64) {}
}

impl FlushDenormals {
    pub fn new() -> FlushDenormals {
        let saved = control::read();
        control::write(saved | control::FLUSH);
        FlushDenormals { saved }
    }
}

impl Drop for FlushDenormals {
    fn drop(&mut self) {
        control::write(self.saved);
    }
}
