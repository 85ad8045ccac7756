"""How likely one letter follows another in ordinary words; made by bench/bigrams.py, not by hand."""

from __future__ import annotations

from typing import Final

# One string a first letter, one character a second: half bits over chance, `A` is eleven bits under it.
FOLLOWING: Final = (
    "OVYWORVMVKSZXYJXK[Y\\USRSUO",
    "[SVTZSRNYWM[SRYROWWRZOOLWL",
    "YPURZRPZWJYYRP\\RKWUZWNLKTJ",
    "ZUTW]TTO[RNVTQYTLVWVWPPOTL",
    "WQXXTUUNRINZWZRUS[[YPTSXSL",
    "ZRTTXYQN]JOXRT[RKYUWYMMLSI",
    "XPTR]QUXYJPWUXVRJZYUXPOLQL",
    "\\RRQ]PMOZKPSUQ[RPVVYVNQKVK",
    "VUXXWUWLNLQXW\\ZVNUZZPUHTGU",
    "[QQR]PNNVSURQR[TMN\\PXOTPSP",
    "WRTT^RTR[LOUTUUSNTYSWQVRRP",
    "ZQSW\\[QN[JPXPPYSJPWXXSMIUI",
    "\\WQS\\PNLYIOUVTY[LQWSWOLNSM",
    "YPYZZWZPWOSSQUXUKQZ[VUMPQM",
    "TUWXQTUMTNTYY\\VXG[VWXTVQOK",
    "[OSU[QQVWIQZQPZXLZUXVPLKXJ",
    "RQQRPTNNPIL[SRMRTWVS_POMNP",
    "ZPVV\\RVNZJTSWUZRKWYXVTOJVH",
    "UNWQ]RPVYJTTRQXWSQY\\WPRLUJ",
    "ZPUR]SPX[JMSSPYTLYWVUORPXM",
    "VWVTYTTLWHPZY[SYGZYZMMHPHL",
    "]PRQ^OPM[IHOQQVTKOSQNMNPPI",
    "[PTSZROW\\JRSPX[QJZYSNNVOLK",
    "XVZUZXOQYGNSUPS[OSS\\PPNTUM",
    "VSVUWSUQUKNXZXU]NTZZRRUPPR",
    "ZPPR_RQSYJPRTSZTLQSSPOOQVV",
)

# Of characters after a lower-case letter, a capital, a digit and a sign: the shares of those four.
KINDS: Final = {
    "a": {"a": 0.8631, "A": 0.0198, "0": 0.0101, "-": 0.1070},
    "A": {"a": 0.3389, "A": 0.5415, "0": 0.0500, "-": 0.0696},
    "0": {"a": 0.1187, "A": 0.0555, "0": 0.7259, "-": 0.0998},
    "-": {"a": 0.7869, "A": 0.0804, "0": 0.0609, "-": 0.0718},
}
