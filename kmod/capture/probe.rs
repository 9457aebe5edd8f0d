// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Binding and unbinding.

use super::{
    card::Registers,
    geometry::Limits,
    irq::{Interrupt, Line},
    memory, module_parameters,
    raw::{self, VideoDevice},
    regs,
    session::{SelfTest, Session},
    stream::Video,
};
use kernel::{
    bindings,
    device::{Bound, Core},
    dma::{DataDirection, Device as _, DmaMask},
    irq, pci,
    prelude::*,
    str::CString,
    sync::Arc,
};

/// Bytes of the self-test's area.
const SELF_TEST_BYTES: u64 = 16;

/// The driver.
pub(crate) struct CaptureDriver;

kernel::pci_device_table!(
    PCI_TABLE,
    <CaptureDriver as pci::Driver>::IdInfo,
    [(
        pci::DeviceId::from_id(pci::Vendor::REDHAT, regs::DEVICE as u32),
        ()
    )]
);

/// What lives from probe to unbind. The fields are dropped in this order, after [`Session::unbind`] has
/// stopped the card: no more interrupts; vectors; bus mastering and decoders off. `/dev/videoN` ends before all that, which
/// unmaps the card's memory and gives it back.
#[pin_data]
pub(crate) struct Binding<'bound> {
    video: VideoDevice,
    #[pin]
    interrupt: irq::ThreadedRegistration<'bound, Interrupt>,
    /// Boxed, since `interrupt` refers to it.
    vectors: KBox<pci::IrqVectorRegistration<'bound>>,
    session: Arc<Session>,
    enabled: raw::Enabled<'bound>,
}

impl pci::Driver for CaptureDriver {
    type IdInfo = ();
    type Data<'bound> = Binding<'bound>;
    const ID_TABLE: pci::IdTable<Self::IdInfo> = &PCI_TABLE;

    fn probe<'bound>(
        pdev: &'bound pci::Device<Core<'_>>,
        _info: Option<&'bound Self::IdInfo>,
    ) -> impl PinInit<Self::Data<'bound>, Error> + 'bound {
        pin_init::pin_init_scope(move || {
            let enabled = raw::Enabled::new(pdev)?;
            let bar = pdev.iomap_region_sized::<{ regs::BAR0_SIZE }>(0, c"landfall_capture")?;
            let registers = Registers::new(bar.into_devres()?);
            let limits = examine(pdev, &registers)?;
            // SAFETY: nothing was mapped for this device yet.
            unsafe {
                pdev.dma_set_mask_and_coherent(DmaMask::try_new(limits.address_bits)?)?;
                pdev.dma_set_max_seg_size(u32::MAX);
            }
            let self_test = self_test(pdev, &registers, &limits)?;
            let vectors = KBox::new(vectors(pdev)?, GFP_KERNEL)?;
            let kind = vectors.irq_type();
            // SAFETY: the vectors are boxed and live as long as the `Binding`, in which the interrupt is
            // dropped before them; if the initialiser fails, what was made later is dropped earlier.
            let request = unsafe { &*core::ptr::from_ref(&*vectors) }.index(0)?.into();
            let line = Arc::pin_init(Line::new(registers), GFP_KERNEL)?;
            let session = Session::new(pdev.into(), line, limits, number(kind), self_test);
            let session = Arc::pin_init(session, GFP_KERNEL)?;
            let stream = Arc::pin_init(Video::new(session.clone()), GFP_KERNEL)?;
            Ok(try_pin_init!(Binding {
                enabled,
                vectors,
                // SAFETY: the driver core drops the `Binding`; nobody forgets it.
                interrupt <- unsafe {
                    let handler = Ok::<_, Error>(Interrupt(session.clone()));
                    irq::ThreadedRegistration::new(request, sharing(kind), c"landfall_capture", handler)
                },
                video: VideoDevice::new(pdev, stream, limits.slots)?,
                _: {
                    dev_info!(
                        pdev,
                        "video{}: {} address bits, frames up to {} bytes, {:?}\n",
                        video.number(),
                        limits.address_bits,
                        limits.max_frame,
                        kind,
                    );
                },
                session,
            }? Error))
        })
    }

    fn unbind<'bound>(_pdev: &'bound pci::Device<Core<'_>>, binding: Pin<&Binding<'bound>>) {
        binding.video.unregister();
        binding.session.unbind();
    }
}

/// Finds out whether this is our card, that it is idle, and what it can take.
fn examine(pdev: &pci::Device<Bound>, registers: &Registers) -> Result<Limits> {
    registers.identify().inspect_err(|error| match *error {
        EIO => dev_err!(pdev, "the card does not answer\n"),
        _ => dev_err!(
            pdev,
            "the card has another register layout than {}\n",
            regs::LAYOUT
        ),
    })?;
    registers.stop().or_else(|error| {
        if error == ETIMEDOUT {
            dev_warn!(pdev, "the card was busy and had to be reset\n");
            return Ok(());
        }
        dev_err!(pdev, "the card does not become idle\n");
        Err(error)
    })?;
    registers
        .limits()
        .inspect_err(|_| dev_err!(pdev, "the card's limits make no sense\n"))
}

/// Proves that the card and the driver share memory, in both directions. What it takes for that stays
/// lent to the card.
fn self_test(
    pdev: &pci::Device<Bound>,
    registers: &Registers,
    limits: &Limits,
) -> Result<SelfTest> {
    let device = pdev.as_ref();
    let owner = CString::try_from_fmt(fmt!("{}/selftest", device.name()))?;
    let area = memory::lend(
        device,
        &owner,
        SELF_TEST_BYTES,
        memory::Place::default(),
        limits,
        DataDirection::Bidirectional,
    )
    .inspect_err(|_| {
        dev_err!(
            pdev,
            "landfall_pool has no memory for a card with {} address bits\n",
            limits.address_bits
        )
    })?;
    // SAFETY: may be called anywhere.
    let nonce = unsafe { bindings::get_random_u64() };
    registers.self_test(&area, nonce).inspect_err(|error| match *error {
        EBADMSG => dev_err!(
            pdev,
            "self-test failed: the card and the driver do not share memory at {:#x} (is the guest's memory share=on?)\n",
            area.dma()
        ),
        ETIMEDOUT => dev_err!(pdev, "self-test failed: the card did not finish it\n"),
        _ => dev_err!(pdev, "self-test failed: the card could not reach {:#x}\n", area.dma()),
    })?;
    Ok(SelfTest { area, nonce })
}

/// Gets one interrupt vector, of the kind that the module parameter asks for.
fn vectors(pdev: &pci::Device<Bound>) -> Result<pci::IrqVectorRegistration<'_>> {
    let one = |kind| pdev.alloc_irq_vectors(1, 1, pci::IrqTypes::default().with(kind));
    let wanted = module_parameters::interrupt.value();
    let got = match wanted {
        0 => one(pci::IrqType::Intx),
        1 => one(pci::IrqType::Msi),
        2 => one(pci::IrqType::MsiX),
        3 => one(pci::IrqType::Msi)
            .or_else(|_| one(pci::IrqType::MsiX))
            .or_else(|_| one(pci::IrqType::Intx)),
        _ => {
            dev_err!(
                pdev,
                "interrupt={} is not 0 (INTx), 1 (MSI), 2 (MSI-X) or 3 (any)\n",
                wanted
            );
            return Err(EINVAL);
        }
    };
    got.inspect_err(|_| {
        dev_err!(
            pdev,
            "the card has no interrupt of the kind interrupt={}\n",
            wanted
        )
    })
}

/// As `uapi::Info::interrupt`.
fn number(kind: pci::IrqType) -> u32 {
    match kind {
        pci::IrqType::Intx => 0,
        pci::IrqType::Msi => 1,
        pci::IrqType::MsiX => 2,
    }
}

/// Only a pin is shared with other devices.
fn sharing(kind: pci::IrqType) -> irq::Flags {
    match kind {
        pci::IrqType::Intx => irq::Flags::SHARED,
        _ => irq::Flags::TRIGGER_NONE,
    }
}
