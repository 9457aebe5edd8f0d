// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Registers of the sound card, BAR 0, little-endian. A wider access is one to each of them, a narrower one to part of one.

use landfall_device::contract::register;

register! {
    /// Wave and synthesis channel.
    pub(crate) WSMC(u16) @ 0x00 {
        /// How full its FIFO is to be. Kept, and without effect.
        13:12 wave_request => u8;
        /// The wave channel plays.
        10:10 wave => bool;
        /// Two samples at a time, left and right.
        9:9 stereo => bool;
        /// Samples of 16 bits; else of 8.
        8:8 wide => bool;
        /// How full the other's is to be. Kept, and without effect.
        5:4 synthesis_request => u8;
        /// The synthesis channel plays. Kept: there is none.
        2:2 synthesis => bool;
    }

    /// Resampler and ADC channel.
    pub(crate) RAMC(u16) @ 0x02 {
        /// How full its FIFO is to be. Kept, and without effect.
        13:12 resampler_request => u8;
        /// The resampler works. Kept: there is none.
        10:10 resampler => bool;
        /// How full the other's is to be. Kept, and without effect.
        5:4 adc_request => u8;
        /// The ADC channel records.
        2:2 adc => bool;
        /// Two samples at a time, left and right.
        1:1 stereo => bool;
        /// Samples of 16 bits; else of 8.
        0:0 wide => bool;
    }

    /// How loud the wave channel is. Kept: what is played is told as it was fetched.
    pub(crate) WADA(u16) @ 0x04 {
        15:15 left_mute => bool;
        /// In steps of 3 dB.
        13:9 left => u8;
        7:7 right_mute => bool;
        4:0 right => u8;
    }

    /// How loud the synthesis channel is. Kept.
    pub(crate) SYDA(u16) @ 0x06 { 15:0 attenuation => u16; }

    /// Samples of the wave channel, a second.
    pub(crate) WAS(u16) @ 0x08 { 15:0 rate => u16; }

    /// Samples of the resampler, a second. Kept.
    pub(crate) RES(u16) @ 0x0a { 15:0 rate => u16; }

    /// The chip. Kept, and without effect.
    pub(crate) CCS(u16) @ 0x0c {
        15:15 clock => bool;
        10:10 power_down => bool;
        8:8 crystal_delay => bool;
    }

    /// ADC channel: where its ring begins.
    pub(crate) ADCBA(u32) @ 0x50 { 31:0 address => u32; }
    /// Where it writes next.
    pub(crate) ADCCA(u32) @ 0x54 { 31:0 address => u32; }
    /// Bytes of its ring.
    pub(crate) ADCBC(u32) @ 0x58 { 31:0 bytes => u32; }
    /// Bytes from here to the ring's end.
    pub(crate) ADCCC(u32) @ 0x5c { 31:0 bytes => u32; }

    /// Wave channel: where its ring begins.
    pub(crate) WAVBA(u32) @ 0x70 { 31:0 address => u32; }
    /// Where it reads next.
    pub(crate) WAVCA(u32) @ 0x74 { 31:0 address => u32; }
    /// Bytes of its ring.
    pub(crate) WAVBC(u32) @ 0x78 { 31:0 bytes => u32; }
    /// Bytes from here to the ring's end.
    pub(crate) WAVCC(u32) @ 0x7c { 31:0 bytes => u32; }

    /// ADC channel: bytes until its period is over; 0: it has none.
    pub(crate) ADCIC(u32) @ 0x88 { 23:0 bytes => u32; }
    /// Bytes of a period, which the other becomes at its end.
    pub(crate) ADCIB(u32) @ 0x8c { 23:0 bytes => u32; }
    /// Wave channel: bytes until its period is over; 0: it has none.
    pub(crate) WAVIC(u32) @ 0x98 { 23:0 bytes => u32; }
    /// Bytes of a period, which the other becomes at its end.
    pub(crate) WAVIB(u32) @ 0x9c { 23:0 bytes => u32; }

    /// How the ADC channel reaches memory.
    pub(crate) DMAADC(u16) @ 0xa8 {
        /// What is an interrupt: 1, the end of a period; of the others none.
        3:2 interrupt => u8;
        /// The ring's end is followed by its beginning; else the channel stops there.
        1:1 repeat => bool;
        /// It follows a list. Kept: it does not.
        0:0 list => bool;
    }

    /// How the wave channel does.
    pub(crate) DMAWAV(u16) @ 0xb8 {
        3:2 interrupt => u8;
        1:1 repeat => bool;
        0:0 list => bool;
    }

    /// Causes of the interrupt. Write 1 to clear bits 15 to 0.
    pub(crate) DISR(u32) @ 0xc0 {
        /// An access that nobody took is an interrupt.
        17:17 master_abort_enabled => bool;
        /// An access that was refused is one.
        16:16 target_abort_enabled => bool;
        15:15 target_abort => bool;
        14:14 master_abort => bool;
        /// A period of the wave channel is over.
        3:3 wave => bool;
        /// A period of the ADC channel is over.
        1:1 adc => bool;
    }

    /// Channels that stopped by themselves. Write 1 to clear.
    pub(crate) CHSS(u32) @ 0xc4 {
        3:3 wave => bool;
        1:1 adc => bool;
    }

    /// Registers of the codec, as AC'97 numbers them.
    pub(crate) AC97(u16)[64, stride = 2] @ 0x100 { 15:0 value => u16; }

    /// The link to the codec.
    pub(crate) ACIC(u16) @ 0x180 {
        /// The codec is there: at once, if the link is on and not in reset. Read-only.
        15:15 ready => bool;
        9:9 force_sync => bool;
        8:8 force_data => bool;
        3:3 variable_rate => bool;
        2:2 output => bool;
        1:1 out_of_reset => bool;
        0:0 on => bool;
    }
}
