"""Coded concepts shared by SR, SEG and FHIR: one closed table, because no terminology server is at hand in a clinic.

Concepts stand in PS3.16 or were found in at least two independent public sources. Where neither has one, the code is
ours, in a private scheme (designator 99DENTAI, PS3.16 section 8), which every object that uses it declares.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: value, coding scheme designator as DICOM writes it (SCT, DCM, UCUM, LN, ...) and meaning."""

    value: str
    scheme: str
    meaning: str


PRIVATE_SCHEME = "99DENTAI"
PRIVATE_SCHEME_NAME = "Dentgate findings without a public code"

SYSTEM_URI: dict[str, str] = {
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "LN": "http://loinc.org",
    "UCUM": "http://unitsofmeasure.org",
    "CDT": "http://www.ada.org/cdt",
    PRIVATE_SCHEME: "urn:dentgate:code",
}

# Our own FHIR systems and extensions. The namespace is not registered with IANA, but it claims no host that is not
# ours, and a person who searches the record can read it, which an OID or a UUID would not allow.
REPORT_SYSTEM = "urn:dentgate:report"
REVISION_SYSTEM = "urn:dentgate:report-revision"
OBSERVATION_SYSTEM = "urn:dentgate:observation"
ALGORITHM_SYSTEM = "urn:dentgate:algorithm"
#: On the logical patient reference: what a record's patient is compared with; taken off before anything is sent.
BIRTH_DATE_EXTENSION = "urn:dentgate:patient-birth-date"
SEX_EXTENSION = "urn:dentgate:patient-sex"
NAME_EXTENSION = "urn:dentgate:patient-name"

TOOTH = Code("38199008", "SCT", "Tooth")  # CID 7192
ANATOMICAL_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")  # CID 7150
ABNORMAL_STRUCTURE = Code("49755003", "SCT", "Morphologically Abnormal Structure")  # CID 7150
JAW_REGION = Code("661005", "SCT", "Jaw region")  # CID 4016
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")  # CID 100, in every edition
BOUNDED_BY = Code("75958009", "SCT", "Bounded by")  # CID 219
ARTIFICIAL_INTELLIGENCE = Code("123109", "DCM", "Artificial Intelligence")  # CID 7162
CERTAINTY = Code("111012", "DCM", "Certainty of Finding")
PERCENT = Code("%", "UCUM", "Percent")
TOOTH_PRESENT = Code("278661005", "SCT", "Tooth present")
TOOTH_ABSENT = Code("234948008", "SCT", "Tooth absent")
PRESENT = Code("52101004", "SCT", "Present")  # CID 240
ABSENT = Code("272519000", "SCT", "Absent")  # CID 240; FHIR content uses another code
UNDETERMINED = Code("373068000", "SCT", "Undetermined")  # CID 240
PROCEDURE_FINDINGS = Code("59776-5", "LN", "Procedure findings")
PANORAMIC_REPORT = Code("24828-6", "LN", "XR tomography Mandible Panoramic")
IMAGING_REPORT = Code("18748-4", "LN", "Diagnostic imaging study")
#: Kind of examination -> code of its report (LOINC/RSNA playbook where that has one); sites may set their own.
EXAMINATIONS: dict[str, Code] = {
    "panoramic": PANORAMIC_REPORT,
    "bitewing": Code("46386-9", "LN", "XR Teeth Bitewing"),
    "periapical": IMAGING_REPORT,
    "cephalometric": Code("43787-1", "LN", "XR Skull and Facial bones and Mandible Views for dental measurement"),
    "photo": IMAGING_REPORT,
    "fracture": IMAGING_REPORT,
    "spine": IMAGING_REPORT,
    "other": IMAGING_REPORT,
}
PHOTOGRAPH_CATEGORY = Code("85430-7", "LN", "Imaging report")
STUDY_UID = Code("110180", "DCM", "Study Instance UID")
RADIOLOGY_CATEGORY = Code("LP29684-5", "LN", "Radiology")


def code_from(text: str) -> Code:
    """The code that a site wrote as "system code meaning"; the system is LN, SCT, CDT, DCM or a URI of its own.

    Raises:
        ValueError: it is written otherwise.
    """
    system, value, meaning = (*text.strip().split(None, 2), "", "", "")[:3]
    if not meaning or not (system in SYSTEM_URI or ":" in system):
        message = f"{text!r} is no code: write system, code and meaning; the system is LN, SCT, CDT or a URI"
        raise ValueError(message)
    return Code(value, system, meaning)


@dataclass(frozen=True, slots=True)
class FindingCodes:
    """How a kind of finding is coded.

    Attributes:
        finding: the concept as DICOM Finding (SR) and segmented property type (SEG).
        category: finding category, CID 7150.
        answer: the concept as the value of a FHIR Observation.
        site: key of ``SITES``: where it is when neither a tooth, nor the finding, nor the image says so.
    """

    finding: Code
    category: Code
    answer: Code
    site: str


def _abnormal(finding: Code, site: str = "jaw", answer: Code | None = None) -> FindingCodes:
    return FindingCodes(finding, ABNORMAL_STRUCTURE, answer or finding, site)


class _Findings(dict[str, FindingCodes]):
    """The kinds below, and any kind that carries its code: "SCT:233604007:Pneumonia", as foreign models find them."""

    def __missing__(self, kind: str) -> FindingCodes:
        """The codes that a kind carries. Raises KeyError for other words."""
        match = _CODED.fullmatch(kind)
        if match is None:
            raise KeyError(kind)
        return _abnormal(Code(match[2], match[1], match[3]))

    def __contains__(self, kind: object) -> bool:
        """Whether it has codes."""
        return super().__contains__(kind) or (isinstance(kind, str) and _CODED.fullmatch(kind) is not None)


#: Scheme (SNOMED CT or our private one), value and meaning, as long as DICOM allows (PS3.5 6.2: SH, LO).
_CODED = re.compile(rf"(SCT|{PRIVATE_SCHEME}):([A-Za-z0-9_-]{{1,16}}):([^:\\^\s][^:\\^]{{0,63}})")

FINDINGS: dict[str, FindingCodes] = _Findings(
    {
        "tooth": FindingCodes(finding=TOOTH, category=ANATOMICAL_STRUCTURE, answer=TOOTH_PRESENT, site="jaw"),
        "filling": _abnormal(Code("278550007", "SCT", "Dental filling present")),
        "crown": _abnormal(Code("278552004", "SCT", "Dental crown present")),
        "root-canal-treated": _abnormal(Code("718392007", "SCT", "Previously initiated endodontic therapy completed")),
        "implant": _abnormal(Code("40388003", "SCT", "Implant")),  # CID 7151, CID 7193; the tooth site makes it dental
        # the morphology is the verified code and goes with a site; a FHIR value stands for itself: the disorder
        "impacted": _abnormal(
            Code("129263008", "SCT", "Impacted tooth"), answer=Code("235104008", "SCT", "Impacted tooth")
        ),
        "destroyed-crown": _abnormal(Code("DESTROYED-CROWN", PRIVATE_SCHEME, "Destroyed tooth crown")),
        "caries": _abnormal(Code("80967001", "SCT", "Dental caries"), "mouth"),
        "gingivitis": _abnormal(Code("66383009", "SCT", "Gingivitis"), "mouth"),
        "calculus": _abnormal(Code("6288001", "SCT", "Accretion on teeth"), "mouth"),  # calculus or plaque
        "ulcer": _abnormal(Code("56208002", "SCT", "Ulcer"), "mouth"),  # CID 6209
        "discoloration": _abnormal(Code("DISCOLORATION", PRIVATE_SCHEME, "Tooth discoloration"), "mouth"),
        "hypodontia": _abnormal(TOOTH_ABSENT, "mouth"),  # a gap in a photograph does not say why
        "fracture": _abnormal(Code("125605004", "SCT", "Fracture of bone"), "bone"),
        "scoliosis": _abnormal(Code("298382003", "SCT", "Scoliosis deformity of spine"), "spine"),
        "vertebra": FindingCodes(
            finding=Code("51282000", "SCT", "Vertebra"),  # CID 7192
            category=ANATOMICAL_STRUCTURE,
            answer=Code("51282000", "SCT", "Vertebra"),
            site="spine",
        ),
    }
)

#: Kinds that say something of a tooth that must have been found first.
TOOTH_CONDITIONS = frozenset(kind for kind, codes in FINDINGS.items() if codes.site == "jaw" and kind != "tooth")

#: Flags that are a qualitative evaluation: the value that the finding has. All other flags are remarks.
QUALITIES: dict[str, Code] = {
    "single-curve": Code("SINGLE-CURVE", PRIVATE_SCHEME, "Single curve"),
    "double-curve": Code("DOUBLE-CURVE", PRIVATE_SCHEME, "Double curve"),
}


@dataclass(frozen=True, slots=True)
class MeasurementCodes:
    """How a kind of measurement is coded: its name, and its unit in UCUM."""

    name: Code
    unit: Code


DEGREE = Code("deg", "UCUM", "degree")

MEASUREMENTS: dict[str, MeasurementCodes] = {
    "cobb-angle": MeasurementCodes(name=Code("285285000", "SCT", "Cobb angle"), unit=DEGREE),  # CID 218, CID 7550
}

_VERTEBRAE = {
    "T1": "64864005", "T2": "53733008", "T3": "1626008", "T4": "73071006", "T5": "56401006", "T6": "45296009",
    "T7": "62487009", "T8": "11068009", "T9": "82687006", "T10": "7610001", "T11": "12989004", "T12": "23215003",
    "L1": "66794005", "L2": "14293000", "L3": "36470004", "L4": "11994002", "L5": "49668003",
}  # fmt: skip
#: Vertebrae from top to bottom (CID 7602).
VERTEBRAE: dict[str, Code] = {name: Code(code, "SCT", f"{name} vertebra") for name, code in _VERTEBRAE.items()}

#: Sites of findings that belong to no tooth (CID 4031, CID 7151, CID 7602).
SITES: dict[str, Code] = VERTEBRAE | {
    "jaw": JAW_REGION,
    "mouth": Code("123851003", "SCT", "Mouth"),
    "bone": Code("272673000", "SCT", "Bone"),
    "spine": Code("421060004", "SCT", "Spine"),
    "cervical-spine": Code("122494005", "SCT", "Cervical spine"),
    "thoracic-spine": Code("122495006", "SCT", "Thoracic spine"),
    "thoracolumbar-spine": Code("1217256009", "SCT", "Thoraco-lumbar spine"),
    "lumbar-spine": Code("122496007", "SCT", "Lumbar spine"),
    "lumbosacral-spine": Code("1217253001", "SCT", "Lumbo-sacral spine"),
    "mandible": Code("91609006", "SCT", "Mandible"),
    "maxilla": Code("70925003", "SCT", "Maxilla"),
    "skull": Code("89546000", "SCT", "Skull"),
    "chest": Code("816094009", "SCT", "Chest"),
    "rib": Code("113197003", "SCT", "Rib"),
    "clavicle": Code("51299004", "SCT", "Clavicle"),
    "scapula": Code("79601000", "SCT", "Scapula"),
    "shoulder": Code("16982005", "SCT", "Shoulder"),
    "upper-limb": Code("53120007", "SCT", "Upper limb"),
    "upper-arm": Code("40983000", "SCT", "Upper arm"),
    "humerus": Code("85050009", "SCT", "Humerus"),
    "elbow": Code("16953009", "SCT", "Elbow joint"),
    "forearm": Code("14975008", "SCT", "Forearm"),
    "wrist": Code("74670003", "SCT", "Wrist joint"),
    "hand": Code("85562004", "SCT", "Hand"),
    "finger": Code("7569003", "SCT", "Finger"),
    "thumb": Code("76505004", "SCT", "Thumb"),
    "pelvis": Code("816092008", "SCT", "Pelvis"),
    "hip": Code("29836001", "SCT", "Hip"),
    "lower-limb": Code("61685007", "SCT", "Lower limb"),
    "thigh": Code("68367000", "SCT", "Thigh"),
    "femur": Code("71341001", "SCT", "Femur"),
    "knee": Code("72696002", "SCT", "Knee"),
    "lower-leg": Code("30021000", "SCT", "Lower leg"),
    "fibula": Code("87342007", "SCT", "Fibula"),
    "ankle": Code("70258002", "SCT", "Ankle joint"),
    "foot": Code("56459004", "SCT", "Foot"),
    "toe": Code("29707007", "SCT", "Toe"),
    "extremity": Code("66019005", "SCT", "Extremity"),
}

#: Body Part Examined (PS3.16 annex L, and what devices write) -> key of ``SITES``.
BODY_PARTS: dict[str, str] = {
    "JAW": "jaw", "MANDIBLE": "mandible", "MAXILLA": "maxilla", "MOUTH": "mouth", "SKULL": "skull", "HEAD": "skull",
    "SPINE": "spine", "WSPINE": "spine", "CSPINE": "cervical-spine", "TSPINE": "thoracic-spine",
    "TLSPINE": "thoracolumbar-spine", "LSPINE": "lumbar-spine", "LSSPINE": "lumbosacral-spine", "CHEST": "chest",
    "RIB": "rib", "CLAVICLE": "clavicle", "SCAPULA": "scapula", "SHOULDER": "shoulder", "ARM": "upper-arm",
    "UPPERARM": "upper-arm", "HUMERUS": "humerus", "ELBOW": "elbow", "FOREARM": "forearm", "WRIST": "wrist",
    "HAND": "hand", "FINGER": "finger", "THUMB": "thumb", "PELVIS": "pelvis", "HIP": "hip", "THIGH": "thigh",
    "FEMUR": "femur", "KNEE": "knee", "LEG": "lower-leg", "LOWERLEG": "lower-leg", "TIBFIB": "lower-leg",
    "TIBIA": "lower-leg", "FIBULA": "fibula", "ANKLE": "ankle", "FOOT": "foot", "TOE": "toe",
    "EXTREMITY": "extremity", "UPRLIMB": "upper-limb", "LOWLIMB": "lower-limb",
}  # fmt: skip
