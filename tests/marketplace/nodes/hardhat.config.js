// Hardhat 3 as it comes. Only its node is used, never its compiler.
export default {};
