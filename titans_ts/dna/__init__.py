"""Door 3, DNA: sequences, genomes and variants in; classes, numbers, likelihoods and explanations out."""
