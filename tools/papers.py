"""The paper of each model of torchvision and timm, from the zoos' docstrings and from patterns of names.

Used by ``python -m tools.measure_zoos``.
"""

from __future__ import annotations

import fnmatch
import functools
import re
import sys

from lit_cnn.models._external import timm_module, torchvision_models

_REFERENCE = re.compile(r"`([^`]+?)`?\s*[-<]\s*https?://arxiv\.org/\w+/(\d{4}\.\d{4,5})")

TORCHVISION = {"squeezenet1_1": "1602.07360"}  # its docstring names no paper

# A timm module is a family, and its docstring names its papers. Where these are several, or where the only one is about
# training, these patterns of names give the architecture's; the first that matches counts.
# "" is for families without a paper of their own on arXiv.
TIMM = [
    ("", "test_* hgnet* lcnetv2_* bat_resnext* gcres* resnet32ts resnet33ts resnet51q resnet61q mobilenetv5_*"),
    # vision_transformer, naflexvit, vision_transformer_hybrid
    ("2502.14786", "naflexvit_*_siglip"),
    ("2303.15343", "vit_*_siglip_*"),
    ("2508.20691", "vit_*_mci_*"),
    ("2103.00020", "vit_*_clip_* resnet*_clip*"),
    ("2304.07193", "vit_*_dinov2"),
    ("2604.12012", "vit_*_tipsv2"),
    ("2410.16261", "vit_intern300m_*"),
    ("2301.08243", "vit_huge_patch14_gap_* vit_huge_patch16_gap_* vit_giant_patch16_gap_*"),
    ("2106.04560", "vit_giant_patch14_224 vit_gigantic_patch14_224"),
    ("2203.09795", "vit_*_18x2_* vit_*_36x1_*"),
    ("2302.05442", "vit_*_xp_*"),
    ("2410.05258", "vit_dlittle_* vit_dpwee_* vit_dwee_*"),
    ("2104.10972", "vit_*_miil"),
    ("2305.13035", "vit_so150m* naflexvit_so150m*"),
    ("2212.08013", "flexivit_*"),
    ("2411.14402", "aimv2_*"),
    ("2208.10442", "beit3_*"),
    ("2307.06304", "naflexvit_*_gap naflexvit_*_map"),
    # eva
    ("2303.15389", "eva*_clip_*"),
    ("2303.11331", "eva02_*"),
    ("2211.07636", "eva_*_patch*"),
    ("2504.13181", "vit_pe_*"),
    ("2403.13298", "vit_*_rope_*"),
    ("2508.10104", "vit_*_dinov3 vit_*_dinov3_*"),
    ("2304.02643", "samvit_*"),
    ("2106.08254", "beit_*"),
    ("2208.06366", "beitv2_*"),
    ("2204.07118", "deit3_*"),
    ("2012.12877", "deit_*"),
    # convolutions beside attention
    ("2101.11605", "*botnet* *botnext* lamhalobotnet*"),
    ("2103.12731", "*halonet* *halonext* haloregnetz_*"),
    ("2102.08602", "lambda_*"),
    ("2106.04803", "coatnet_* coatnext_*"),
    ("2204.01697", "maxvit_* maxxvit*"),
    ("2110.02178", "mobilevit_*"),
    ("2206.02680", "mobilevitv2_*"),
    ("2311.17049", "fastvit_mci*"),
    ("2303.14189", "fastvit_*"),
    ("2206.10589", "edgenext_*"),
    ("2210.13452", "caformer_* convformer_* poolformerv2_*"),
    ("2111.11418", "poolformer_*"),
    ("2204.03645", "davit_*"),
    ("2408.00714", "sam2_hiera_*"),
    ("2311.05613", "hiera_*_abswin_*"),
    ("2306.00989", "hiera_* hieradet_*"),
    ("2111.14725", "swin_s3_*"),
    ("2103.14030", "swin_*_patch4_*"),
    ("2105.03404", "resmlp_*"),
    ("2105.08050", "gmlp_*"),
    ("2105.01601", "mixer_* gmixer_*"),
    ("2511.21631", "qwen3_vit_*"),
    ("2603.26551", "lowformer_e*"),
    ("2409.03460", "lowformer_*"),
    # convolutional networks
    ("2103.07579", "resnetrs*"),
    ("1910.03151", "ecaresne*"),
    ("1904.11486", "resnetblur* densenetblur*"),
    ("1709.01507", "seresne* senet*"),
    ("1605.07146", "wide_resnet*"),
    ("1611.05431", "resnext*d resnext*_32x*d resnext*_64x*d"),
    ("1812.01187", "resnet[1-9]*[cdst] resnetaa*"),
    ("1912.11370", "resnetv2_*_bit"),
    ("1603.05027", "resnetv2_*"),
    ("1512.03385", "resnet[1-9]*"),
    ("1608.06993", "densenet*"),
    ("1904.01169", "dla*_res2ne*"),
    ("1707.06484", "dla*"),
    ("2006.14090", "gernet_*"),
    ("2101.03697", "repvgg_*"),
    ("2206.04040", "mobileone_*"),
    ("2103.06877", "regnetz_*"),
    ("2003.13678", "regnetx_* regnety_* regnetv_*"),
    ("2101.08692", "nf_resnet* nf_regnet* nf_seresnet* nf_ecaresnet*"),
    ("2102.06171", "nfnet_* dm_nfnet_* eca_nfnet_*"),
    ("2301.00808", "convnextv2_*"),
    ("2201.03545", "convnext_*"),
    ("1804.02767", "darknet* sedarknet*"),
    ("1911.11929", "csp* cs3*"),
    ("2211.12905", "ghostnetv2_*"),
    ("2404.11202", "ghostnetv3_*"),
    ("1911.11907", "ghostnet_*"),
    ("1908.07919", "hrnet_*"),
    ("1911.06667", "ese_vovnet* eca_vovnet*"),
    ("1904.09730", "vovnet*"),
    ("2003.13630", "tresnet_*"),
    ("1802.02611", "xception[467]*"),
    ("1602.07261", "inception_resnet_v2"),
    ("1512.00567", "inception_v3"),
    ("2104.00298", "*efficientnetv2_*"),
    ("1904.04971", "*efficientnet_cc_*"),
    ("2102.05610", "efficientnet_x_* efficientnet_h_*"),
    ("1905.11946", "*efficientnet_*"),
    ("1907.09595", "*mixnet_*"),
    ("1807.11626", "mnasnet_* semnasnet_*"),
    ("1704.04861", "mobilenetv1_*"),
    ("1801.04381", "mobilenetv2_*"),
    ("2204.14007", "mobilenet_edgetpu_v2_*"),
    ("1812.03443", "fbnetc_*"),
    ("1904.02877", "spnasnet_*"),
    ("2010.14819", "tinynet_*"),
    ("2006.02049", "fbnetv3_*"),
    ("2109.15099", "lcnet_*"),
    ("2404.10518", "mobilenetv4_*"),
    ("1905.02244", "*mobilenetv3_*"),
]
VIT = ("2010.11929", "vit_*")  # used only where timm itself names no paper


def references(text: str | None) -> dict[str, str]:
    """Titles by arXiv number of the papers that a docstring links, in its order."""
    return {number: " ".join(title.split()) for title, number in _REFERENCE.findall(text or "")}


def paper(name: str) -> str:
    """arXiv number of the paper of ``torchvision/NAME`` or ``timm/NAME``; ``""`` if there is none or it is unknown."""
    zoo, _, short = name.partition("/")
    if zoo == "torchvision":
        if short in TORCHVISION:
            return TORCHVISION[short]
        return next(iter(references(torchvision_models().get_model_builder(short).__doc__)), "")
    for number, patterns in TIMM:
        if any(fnmatch.fnmatchcase(short, pattern) for pattern in patterns.split()):
            return number
    of_family = references(_timm_family(short))
    if len(of_family) == 1:
        return next(iter(of_family))
    listed = timm_module().get_pretrained_cfg(short).paper_ids
    if isinstance(listed, str):
        return listed.removeprefix("arXiv:")
    return VIT[0] if fnmatch.fnmatchcase(short, VIT[1]) else ""


def _timm_family(short: str) -> str | None:
    return sys.modules[timm_module().model_entrypoint(short).__module__].__doc__


@functools.cache
def titles() -> dict[str, str]:
    """Titles by arXiv number of all papers that the two zoos link."""
    models = torchvision_models()
    texts = [_timm_family(name) for name in timm_module().list_models()]
    texts += [models.get_model_builder(name).__doc__ for name in models.list_models(module=models)]
    found: dict[str, str] = {}
    for text in texts:
        found |= {number: title for number, title in references(text).items() if number not in found}
    return found
